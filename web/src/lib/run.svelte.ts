/** One training run, kept up to date: what it is, and its whole curve. */

import {
  client,
  failure,
  take,
  type Failure,
  type RunDetail,
  type Step,
  type StepNews,
} from './api'
import type { Curve } from './curves.svelte'
import { live } from './live.svelte'

/** More points than pixels help nobody; the server keeps lows and highs when it thins out. */
const POINTS_MAX = 4000

/** New steps are asked for this often at most. */
const FOLLOW_MS = 750

/** Checkpoints, events and the certificate are asked for this often at most while steps come. */
const DETAIL_MS = 4000

export class RunView {
  readonly id: number
  detail = $state.raw<RunDetail>()
  steps = $state.raw<Step[]>([])
  problem = $state<Failure>()

  #due: ReturnType<typeof setTimeout> | undefined
  #whole = false
  #told = -1
  #detailAt = 0
  #asking = false
  #again = false
  readonly #hear = (news: StepNews) => this.#heard(news)

  constructor(id: number) {
    this.id = id
    live.onStep.add(this.#hear)
  }

  /** The run as a line of a chart. */
  get curve(): Curve | undefined {
    const run = this.detail
    if (!run) return undefined
    return { run, steps: this.steps, checkpoints: run.checkpoints.map(({ step }) => step) }
  }

  stop() {
    live.onStep.delete(this.#hear)
    clearTimeout(this.#due)
  }

  /** Asks for everything again. */
  async load() {
    this.#whole = false
    this.#detailAt = 0
    await this.#ask()
  }

  #heard(news: StepNews) {
    if (news.run_id !== this.id) return
    // A run that went back to a checkpoint makes its steps again.
    if (news.step < this.#told) this.#whole = false
    this.#told = news.step
    this.#due ??= setTimeout(() => {
      this.#due = undefined
      void this.#ask()
    }, FOLLOW_MS)
  }

  async #ask() {
    if (this.#asking) {
      this.#again = true
      return
    }
    this.#asking = true
    try {
      const whole = !this.#whole
      const path = { id: this.id }
      const from = whole ? 0 : (this.steps.at(-1)?.step ?? -1) + 1
      const query = { from, max_points: POINTS_MAX }
      const due = Date.now() - this.#detailAt >= DETAIL_MS
      const [more, detail] = await Promise.all([
        take(client.GET('/runs/{id}/steps', { params: { path, query } })),
        due ? take(client.GET('/runs/{id}', { params: { path } })) : undefined,
      ])
      this.steps = whole ? more.items : [...this.steps, ...more.items]
      this.#whole = true
      if (detail) {
        this.detail = detail
        this.#detailAt = Date.now()
      }
      this.problem = undefined
    } catch (thrown) {
      this.problem = failure(thrown)
    } finally {
      this.#asking = false
    }
    if (this.#again) {
      this.#again = false
      await this.#ask()
    }
  }
}
