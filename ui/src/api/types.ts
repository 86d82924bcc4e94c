// The JSON shapes of the cluster's API, as pkg/client defines them.

export interface Resources { cpus: number; mem: number; disk: number; gpus: number; ports?: string }
export interface Usage { cpus: number; memBytes: number; diskBytes: number }

export interface Node {
  id: string; hostname: string; ip: string; state: string; why?: string; since: string; version?: string
  region?: string; zone?: string; attributes?: Record<string, string>
  total: Resources; allocated: Resources; free: Resources
  tasks: number; isolation: string; notEnforced?: string[]; usage?: Usage
}

export interface Exit { code: number; signal?: number; oom?: boolean; unknown?: boolean }

export interface Task {
  id: string; app: string; instance: string; attempt: number; state: string; goal: string
  node?: string; hostname?: string; ip?: string; ports?: number[]; need: Resources; version: string
  reason?: string; message?: string; exit?: Exit
  createdAt: string; placedAt?: string; startedAt?: string; endedAt?: string
}

export interface Service {
  id: string; state: string; why?: string; instances: number; running: number; waiting: number
  package?: string; packageVersion?: string; version: string; need: Resources
  endpoints?: string[]; deployment?: string
}

export interface Master { id: string; name: string; api: string; peer: string; voter: boolean; leader: boolean; alive: boolean; version?: string }

export interface Cluster {
  id: string; name: string; version: string; featureLevel: number; index: number; term: number; leader?: string
  masters: Master[] | null; nodes: Record<string, number>; tasks: Record<string, number>; apps: number
  total: Resources; allocated: Resources; problems: string[]
}

export interface Deployment {
  id: string; version: string; affectedApps: string[]
  currentActions: { action: string; app: string }[]; currentStep: number; totalSteps: number
}

export interface Installed { app: string; name: string; version: string; release: number; installedAt: string }

export interface WhyFilter { filter: string; rejected: number; left: number; reasons?: string[] }
export interface Failure { host: string; message: string; state: string; taskId: string; timestamp: string }
export interface Why {
  app: string; running: number; wanted: number; summary: string; details: string[] | null
  funnel: WhyFilter[] | null; suggest: string[] | null; retryAt?: string; lastError?: Failure
}

export type Severity = 'ok' | 'working' | 'warn' | 'bad' | 'idle'
export interface StateWord { of: string; word: string; severity: Severity; glyph: string; meaning: string }

export interface User { id: string; grants: { path: string; actions: string[] }[] }
export interface Version { version: string; commit: string; date: string }

export interface PackageSummary { name: string; currentVersion: string; versions: Record<string, string>; description: string; tags: string[] | null; selected: boolean }
export interface PackageDefinition {
  name: string; version: string; description: string; maintainer?: string; website?: string; tags?: string[]
  licenses?: { name: string; url: string }[]; preInstallNotes?: string; postInstallNotes?: string
  config?: unknown
}
export interface InstallResult { packageName: string; packageVersion: string; appId?: string; postInstallNotes?: string }
export interface DryRun { dryRun: boolean; would: string[]; app?: Record<string, unknown>; nodes?: number; fits?: number }
export interface LogEntry { offset: number; text: string }

export const topics = ['cluster', 'nodes', 'services', 'tasks', 'packages', 'deployments'] as const
export type Topic = (typeof topics)[number]
export interface Rows { cluster: Cluster; nodes: Node; services: Service; tasks: Task; packages: Installed; deployments: Deployment }

// One frame of /dcos/v1/stream.
export interface Frame { seq: number; time: string; topic?: string; op: string; key?: string; data?: unknown }
