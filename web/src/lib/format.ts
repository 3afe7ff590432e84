/** Numbers and times as people read them. Everything carries its unit. */

const whole = new Intl.NumberFormat('en')

export const count = (n: number) => whole.format(n)

export function compact(n: number): string {
  if (n < 10_000) return whole.format(n)
  if (n < 1_000_000) return `${(n / 1000).toFixed(n < 100_000 ? 1 : 0)}k`
  return `${(n / 1_000_000).toFixed(2)}M`
}

/** `512 B`, `3.4 MiB`, `14.2 GiB`. */
export function bytes(n: number): string {
  let size = n
  let unit = 0
  while (size >= 1024 && unit < 4) {
    size /= 1024
    unit += 1
  }
  const digits = unit === 0 || size >= 100 ? 0 : 1
  return `${size.toFixed(digits)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`
}

export function plural(n: number, one: string, many = one + 's'): string {
  return `${count(n)} ${n === 1 ? one : many}`
}

/** `0.4 s`, `38 s`, `4 min 12 s`, `2 h 05 min`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '–'
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 60) return `${Math.round(seconds)} s`
  const all = Math.round(seconds)
  if (all < 3600) return `${Math.floor(all / 60)} min ${String(all % 60).padStart(2, '0')} s`
  const minutes = Math.floor(all / 60)
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`
}

/** Seconds from one RFC 3339 time to another; `to` missing means now. */
export function secondsBetween(from?: string | null, to?: string | null, now = Date.now()): number {
  if (!from) return NaN
  const end = to ? Date.parse(to) : now
  return Math.max(0, (end - Date.parse(from)) / 1000)
}

const clockFormat = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
})
const dayFormat = new Intl.DateTimeFormat(undefined, {
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
})

/** The time of day, with the date where it is not today. */
export function clock(time: string | number, now = Date.now()): string {
  const date = new Date(time)
  const today = new Date(now).toDateString() === date.toDateString()
  return (today ? clockFormat : dayFormat).format(date)
}

export function percent(done: number, total: number): number {
  if (total <= 0) return 0
  return Math.min(100, Math.max(0, (100 * done) / total))
}
