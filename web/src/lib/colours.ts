/** One colour per model, the same in every chart and table. */

const known: Record<string, string> = {
  verified: 'var(--run-verified)',
  unverified: 'var(--run-unverified)',
  untrained: 'var(--run-untrained)',
}

export const runColour = (name: string) => known[name] ?? 'var(--run-other)'

const apart = [
  'var(--run-verified)',
  'var(--run-unverified)',
  'var(--run-other)',
  'var(--good)',
  'var(--run-untrained)',
  'var(--bad)',
]

/** A colour for each of several runs, whatever their names. */
export const lineColour = (index: number) => apart[index % apart.length] ?? 'var(--text)'
