// What the page asks and changes, each beside the command that does the same.
import { call, get, post } from './http'
import type { DryRun, InstallResult, PackageDefinition, PackageSummary, Service, StateWord, User, Version, Why } from './types'

const path = (id: string) => id.split('/').map(encodeURIComponent).join('/')
const app = (id: string) => `/service/marathon/v2/apps${path(id)}`

export const me = () => get<User>('/dcos/v1/me')
export const version = () => get<Version>('/dcos/v1/version')
export const words = async () => (await get<{ states: StateWord[] }>('/dcos/v1/meta/enums')).states
export const why = (id: string, signal?: AbortSignal) => get<Why>(`/dcos/v1/why${path(id)}`, signal)

export const scale = (id: string, instances: number, force: boolean) => call<unknown>('PUT', app(id) + (force ? '?force=true' : ''), { instances })
export const restart = (id: string, force: boolean) => post<unknown>(`${app(id)}/restart${force ? '?force=true' : ''}`, {})
export const kill = (task: string) => post<unknown>(`/dcos/v1/tasks/${encodeURIComponent(task)}/kill`, {})
export const remove = (s: Service) => s.package
  ? post<unknown>('/package/uninstall', { packageName: s.package, appId: s.id })
  : call<unknown>('DELETE', app(s.id))

export const search = (signal?: AbortSignal) => post<{ packages: PackageSummary[] }>('/package/search', { query: '' }, signal)
export const describe = (packageName: string, signal?: AbortSignal) => post<{ package: PackageDefinition }>('/package/describe', { packageName }, signal)
export const install = (packageName: string, packageVersion: string, options: unknown) => post<InstallResult>('/package/install', { packageName, packageVersion, options })
export const tryInstall = (packageName: string, packageVersion: string, options: unknown, signal?: AbortSignal) =>
  post<DryRun>('/package/install?dryRun=1', { packageName, packageVersion, options }, signal)

export const signIn = (uid: string, password: string) => post<unknown>('/acs/api/v1/auth/login', { uid, password })
export const redeem = (token: string) => post<unknown>('/acs/api/v1/auth/login', { token })
export const signOut = () => post<unknown>('/acs/api/v1/auth/logout', {})

export const logPath = (node: string, task: string, file: string) =>
  `/system/v1/agent/${encodeURIComponent(node)}/logs/v2/task/${encodeURIComponent(task)}/file/${file}`

// quote makes a word safe for a shell.
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}

export const cli = {
  scale: (id: string, n: number, force = false) => `dcos marathon app update ${quote(id)} instances=${n}${force ? ' --force' : ''}`,
  restart: (id: string, force = false) => `dcos marathon app restart ${quote(id)}${force ? ' --force' : ''}`,
  remove: (s: Service) => s.package ? `dcos package uninstall ${quote(s.package)} --app-id=${quote(s.id)} --yes` : `dcos marathon app remove ${quote(s.id)}`,
  why: (id: string) => `dcos why ${quote(id)}`,
  log: (task: string, file: string) => `dcos task log --follow ${quote(task)} ${file}`,
  kill: (task: string) => `dcos task kill ${quote(task)}`,
  install: (name: string, options: unknown) => {
    const changed = JSON.stringify(options)
    return changed === '{}' || changed === undefined ? `dcos package install ${quote(name)} --yes`
      : `echo ${quote(changed)} | dcos package install ${quote(name)} --options=- --yes`
  },
}
