/** What is done with a loss curve before it is drawn. */

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
  steps: readonly { step: number; loss: number | null }[]
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
      if (at !== undefined) y[at] = s.loss !== null && Number.isFinite(s.loss) ? s.loss : null
    }
    return y
  })
  return { x, ys }
}

/** The chart in a sentence, for those who cannot see it. */
export function describe(lines: readonly Line[]): string {
  const said = lines
    .map((line) => {
      const finite = line.steps.filter((s) => s.loss !== null && Number.isFinite(s.loss))
      const first = finite[0]
      const last = finite.at(-1)
      if (!first || !last) return ''
      const way = (last.loss ?? 0) < (first.loss ?? 0) ? 'fell' : 'went'
      const count = finite.length.toLocaleString('en')
      return `${line.name}: loss ${way} from ${first.loss?.toFixed(2)} to ${last.loss?.toFixed(2)} over ${count} steps`
    })
    .filter(Boolean)
  return said.length ? said.join('; ') + '.' : 'No training step yet.'
}
