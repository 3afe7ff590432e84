/** How fast counters grow: tokens per second from two looks at a number of tokens. */

/** Two looks that are closer than this say nothing. */
const LEAST_MS = 200

export class Speeds {
  #seen = new Map<string, { at: number; tokens: number; speed: number }>()

  /**
   * Takes in that `key` has counted so many tokens at a time in ms; gives tokens per second since the
   * look before. The first look gives nothing; a counter that fell began anew.
   */
  look(key: string, tokens: number, at: number): number | undefined {
    const before = this.#seen.get(key)
    if (before && at - before.at < LEAST_MS) return before.speed
    const fresh = !before || tokens < before.tokens
    const speed = fresh ? 0 : (1000 * (tokens - before.tokens)) / (at - before.at)
    this.#seen.set(key, { at, tokens, speed })
    return before ? speed : undefined
  }
}
