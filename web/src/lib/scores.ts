/** The score table: which rows, which columns, and what it says in a sentence. */

import type { Score } from './api'

/** The order in which the lesson is told; other models come after. */
const ORDER = ['untrained', 'unverified', 'verified']

export interface Table {
  benchmark: string
  models: string[]
  rows: { family: string; cells: (Score | undefined)[] }[]
}

/** A table per benchmark, the overall row first. */
export function tables(scores: readonly Score[]): Table[] {
  const benchmarks = [...new Set(scores.map((score) => score.benchmark.split('/')[0] ?? ''))]
  return benchmarks.map((benchmark) => {
    const own = scores.filter(
      (s) => s.benchmark === benchmark || s.benchmark.startsWith(benchmark + '/'),
    )
    const models = [...new Set(own.map((score) => score.model))].sort((a, b) => place(a) - place(b))
    const families = [
      ...new Set(own.map((score) => score.benchmark.slice(benchmark.length + 1))),
    ].sort()
    const rows = families.map((family) => ({
      family,
      cells: models.map((model) =>
        own.find(
          (s) =>
            s.model === model && s.benchmark === (family ? `${benchmark}/${family}` : benchmark),
        ),
      ),
    }))
    return { benchmark, models, rows }
  })
}

/** Where a model stands in a table or a legend. */
export function place(model: string): number {
  const at = ORDER.indexOf(model)
  return at < 0 ? ORDER.length : at
}

/** What verification was worth, where both arms have a score. */
export function lesson(table: Table): string {
  const overall = table.rows.find((row) => row.family === '')
  const verified = overall?.cells[table.models.indexOf('verified')]
  const unverified = overall?.cells[table.models.indexOf('unverified')]
  if (!verified || !unverified) return ''
  const gap = verified.mean - unverified.mean
  if (Math.abs(gap) < 0.05)
    return 'Training on verified traces scores the same as training on all of them.'
  const error = Math.hypot(verified.standard_error, unverified.standard_error)
  const way = gap >= 0 ? 'above' : 'below'
  const size = `${Math.abs(gap).toFixed(1)} points`
  const errors =
    error > 0 ? `, ${(Math.abs(gap) / error).toFixed(1)} standard errors of the difference` : ''
  return `Training on verified traces scores ${size} ${way} training on all of them${errors}.`
}

/** A family's name as people write it. */
export function familyName(family: string): string {
  const words = family.replaceAll('_', ' ').replaceAll('-', ' ')
  return words ? words.charAt(0).toUpperCase() + words.slice(1) : 'Overall'
}
