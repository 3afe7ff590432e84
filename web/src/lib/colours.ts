/** One colour per model, the same in every chart and table. */

const known: Record<string, string> = {
  verified: 'var(--run-verified)',
  unverified: 'var(--run-unverified)',
  untrained: 'var(--run-untrained)',
}

export const runColour = (name: string) => known[name] ?? 'var(--run-other)'
