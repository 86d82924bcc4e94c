// A few line drawings, so that no icon library is loaded.
const paths = {
  overview: 'M3 12h4l3-8 4 16 3-8h4',
  services: 'M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z',
  tasks: 'M4 6h2M4 12h2M4 18h2M9 6h11M9 12h11M9 18h11',
  nodes: 'M4 4h16v6H4zM4 14h16v6H4zM7.5 7h.01M7.5 17h.01',
  catalog: 'M12 3 20 7.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2',
  moon: 'M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5',
  auto: 'M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18',
  external: 'M14 4h6v6M20 4l-9 9M18 13v7H4V6h7',
  search: 'M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M16 16l5 5',
}

export function Icon({ name }: { name: keyof typeof paths }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" width="18" height="18" fill="none" stroke="currentColor" strokeWidth="1.75" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      <path d={paths[name]} fill={name === 'auto' ? 'none' : undefined} />
    </svg>
  )
}

export function Logo() {
  return (
    <svg className="logo" viewBox="0 0 24 24" width="26" height="26" aria-hidden="true">
      <rect className="logo-back" width="24" height="24" rx="6" />
      <g className="logo-dots"><circle cx="8" cy="8" r="2.2" /><circle cx="16" cy="8" r="2.2" opacity=".65" /><circle cx="8" cy="16" r="2.2" opacity=".65" /><circle cx="16" cy="16" r="2.2" /></g>
    </svg>
  )
}
