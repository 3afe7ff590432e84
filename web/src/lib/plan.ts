/** What the form of the training page means: values by path, the command line, and how well it fits. */

export type Value = string | number | boolean | readonly string[]

/** What someone typed, as a value of the kind that the setting has now. */
export function parse(text: string, like: unknown): Value {
  const typed = text.trim()
  if (typeof like === 'boolean') return typed === 'true'
  if (Array.isArray(like)) return typed.split(/[\s,]+/).filter(Boolean)
  if (typed !== '' && typeof like !== 'string' && Number.isFinite(Number(typed)))
    return Number(typed)
  return typed
}

/** A value as it stands in a field. */
export const shown = (value: unknown): string =>
  Array.isArray(value) ? value.join(', ') : String(value ?? '')

const quoted = (text: string) =>
  /^[\w.:/+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`

/** The command line that does what the form says. */
export function command(
  verb: 'plan' | 'run',
  recipe: string,
  set: Record<string, Value>,
  machine?: { gpus?: number | undefined; gib?: number | undefined },
): string {
  const sets = Object.entries(set).map(([path, value]) => {
    const written = Array.isArray(value) ? JSON.stringify(value) : String(value)
    return ` --set ${quoted(`${path}=${written}`)}`
  })
  const gpus = machine?.gpus ? ` --devices ${machine.gpus}` : ''
  const gib = machine?.gib ? ` --device-memory ${machine.gib}GiB` : ''
  return `thinkery ${verb} ${recipe}${sets.join('')}${verb === 'plan' ? gpus + gib : ''}`
}

export type Fit = 'fits' | 'tight' | 'does not fit' | 'unknown'

/** Less than this part of a GPU left over is tight: fragmentation differs from run to run. */
const MARGIN = 0.05

/** How well `bytes` fit into `usable`. */
export function fit(bytes?: number | null, usable?: number | null): Fit {
  if (bytes == null || usable == null) return 'unknown'
  if (bytes > usable) return 'does not fit'
  return bytes > usable * (1 - MARGIN) ? 'tight' : 'fits'
}

const GIB = 2 ** 30

export const gibibytes = (bytes: number): string =>
  (bytes / GIB).toLocaleString('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 })

/** A number of parameters or tokens, e.g. 7.6B. */
export const large = (n: number): string =>
  n.toLocaleString('en', { notation: 'compact', maximumFractionDigits: 1 })
