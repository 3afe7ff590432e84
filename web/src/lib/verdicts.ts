/** Words for verdicts, outcomes and reviews, and the keys that decide one. */

import type { Review, ReviewAction } from './api'

const verdicts: Record<string, string> = {
  correct: 'Correct',
  wrong: 'Wrong',
  unchecked: 'Unchecked',
  unreadable: 'Unreadable',
}

export function verdictWords(verdict: string | null | undefined): string {
  return verdict ? (verdicts[verdict] ?? verdict) : 'Not judged'
}

/** `time_limit` as people write it. */
export function outcomeWords(outcome: string): string {
  const words = outcome.replaceAll('_', ' ')
  return words.charAt(0).toUpperCase() + words.slice(1)
}

export const reasonWords: Record<Review['reason'], string> = {
  disagreement: 'The rules and the judge disagree',
  abstained: 'The rules cannot decide and the judge would not',
  asked: 'Somebody asked for it',
}

/** What a key does to the review that is shown; nothing while somebody types. */
export function actionOf(key: string): ReviewAction | 'next' | 'previous' | undefined {
  switch (key) {
    case 'a':
      return 'accept'
    case 'r':
      return 'reject'
    case 's':
      return 'skip'
    case 'u':
      return 'reopen'
    case 'j':
    case 'ArrowDown':
      return 'next'
    case 'k':
    case 'ArrowUp':
      return 'previous'
    default:
      return undefined
  }
}

/** `1.5 MB`, `980 kB`. */
export function megabytes(bytes: number): string {
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.round(bytes / 1e3)} kB`
}

/** A part as people read it; a dash where there is nothing to take a part of. */
export function share(part: number | null | undefined): string {
  return part == null ? '–' : `${(100 * part).toFixed(1)} %`
}

/** Blanks that differ, so that they can be seen. */
export function visible(text: string): string {
  return text.replaceAll(' ', '·').replaceAll('\t', '→').replaceAll('\n', '↵\n')
}

const found: Record<string, string> = {
  announced: 'announced, without a box',
  open_box: 'from a box that is never closed',
  formula: 'the last formula, without a box',
  bold: 'the last bold text, without a box',
  choice: 'a letter, without a box',
  alone: 'all there is, without a box',
  nothing: 'not marked at all',
}

/** How an answer was marked, where that is not by a box. */
export function foundWords(mark: string | null | undefined): string {
  return mark && mark !== 'box' ? ` (${found[mark] ?? mark})` : ''
}
