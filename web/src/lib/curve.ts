/** What is done with a curve before it is drawn. */

/**
 * Exponential moving average with the start corrected (as Adam does), so that the first values are not
 * pulled to zero. A value that is not finite leaves a gap and does not spoil what follows.
 */
export function smooth(values: readonly (number | null)[], weight: number): (number | null)[] {
  let mean = 0
  let total = 0
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return null
    mean = weight * mean + (1 - weight) * value
    total = weight * total + (1 - weight)
    return mean / total
  })
}

export interface Line {
  name: string
  steps: readonly { step: number; value: number | null }[]
}

/** Lines with steps of their own, on one axis: uPlot wants every series over the same x. */
export function align(lines: readonly Line[]): { x: number[]; ys: (number | null)[][] } {
  const x = [...new Set(lines.flatMap((line) => line.steps.map((s) => s.step)))].sort(
    (a, b) => a - b,
  )
  const index = new Map(x.map((step, i) => [step, i]))
  const ys = lines.map((line) => {
    const y = new Array<number | null>(x.length).fill(null)
    for (const s of line.steps) {
      const at = index.get(s.step)
      if (at !== undefined) y[at] = s.value !== null && Number.isFinite(s.value) ? s.value : null
    }
    return y
  })
  return { x, ys }
}

/** The chart in a sentence, for those who cannot see it; `what` is drawn, `said` writes a value. */
export function describe(
  lines: readonly Line[],
  what = 'loss',
  said: (value: number) => string = (value) => value.toFixed(2),
): string {
  const sentences = lines
    .map((line) => {
      const finite = line.steps.filter((s) => s.value !== null && Number.isFinite(s.value))
      const first = finite[0]
      const last = finite.at(-1)
      if (!first || !last) return ''
      const way = (last.value ?? 0) < (first.value ?? 0) ? 'fell' : 'went'
      const count = finite.length.toLocaleString('en')
      return `${line.name}: ${what} ${way} from ${said(first.value ?? 0)} to ${said(last.value ?? 0)} over ${count} steps`
    })
    .filter(Boolean)
  return sentences.length ? sentences.join('; ') + '.' : 'No training step yet.'
}
