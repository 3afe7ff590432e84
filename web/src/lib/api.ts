/** The typed client. Types come from `openapi.json`; a wrong path or field does not compile. */

import createClient from 'openapi-fetch'
import type { components, paths } from './schema'

type Schemas = components['schemas']
export type Status = Schemas['Status']
export type StageStatus = Schemas['StageStatus']
export type StageState = Schemas['StageState']
export type Stage = Schemas['Stage']
export type Job = Schemas['Job']
export type Run = Schemas['Run']
export type RunDetail = Schemas['RunDetail']
export type RunEvent = Schemas['RunEvent']
export type Checkpoint = Schemas['Checkpoint']
export type TrainExample = Schemas['TrainExample']
export type Step = Schemas['Step']
export type StepNews = Schemas['StepNews']
/** What the `data:` line of an event says. */
export type News = Schemas['Event']
export type Score = Schemas['Score']
export type Model = Schemas['Model']
export type LoadedModel = Schemas['LoadedModel']
export type Question = Schemas['Question']
export type Trace = Schemas['Trace']
export type Recipe = Schemas['Recipe']
export type Planned = Schemas['Planned']
export type Forecast = Schemas['Forecast']
export type Sandbox = Schemas['Sandbox']
export type VerifySummary = Schemas['VerifySummary']
export type SlowTrace = Schemas['SlowTrace']
export type VerdictDetail = Schemas['VerdictDetail']
export type TestEvidence = Schemas['TestEvidence']
export type Replay = Schemas['Replay']
export type Review = Schemas['Review']
export type ReviewAction = Schemas['ReviewAction']
export type SessionInfo = Schemas['SessionInfo']

export const client = createClient<paths>({ baseUrl: '/api/v1' })

/** Called when the server says that nobody is logged in. */
export const onLoggedOut = new Set<() => void>()

client.use({
  onResponse({ response, schemaPath }) {
    if (response.status === 401 && schemaPath !== '/login' && schemaPath !== '/setup') {
      for (const hear of onLoggedOut) hear()
    }
  },
})

/** Why something could not be done, in the server's words. */
export class Failure extends Error {
  hint: string | undefined
  status: number

  constructor(message: string, hint: string | undefined, status: number) {
    super(message)
    this.hint = hint
    this.status = status
  }
}

/** The failure in whatever was thrown. */
export function failure(thrown: unknown): Failure {
  if (thrown instanceof Failure) return thrown
  if (thrown instanceof TypeError) {
    return new Failure('the server cannot be reached', 'is `thinkery up` still running?', 0)
  }
  return new Failure(String(thrown), undefined, 0)
}

/** The failure in an error's body, whatever the server or something before it sent. */
export function failureOf(body: unknown, status: number): Failure {
  const detail = (body as { error?: { message?: unknown; hint?: unknown } } | undefined)?.error
  const message =
    typeof detail?.message === 'string' ? detail.message : `the server answered ${status}`
  return new Failure(message, typeof detail?.hint === 'string' ? detail.hint : undefined, status)
}

/** The answer's data; throws a [`Failure`] if there is none. */
export async function take<T>(
  answer: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<T> {
  const { data, error, response } = await answer
  if (!response.ok || data === undefined) throw failureOf(error, response.status)
  return data
}

/** A message with a capital letter and a full stop: the server's are lower case, to be chained. */
export function sentence(text: string): string {
  const trimmed = text.trim()
  if (!trimmed) return ''
  const first = trimmed.charAt(0).toUpperCase() + trimmed.slice(1)
  return /[.!?…)`]$/.test(first) ? first : first + '.'
}
