/** Loss curves of the runs on show: the whole history first, then what each run adds. */

import { client, take, type Run, type Step, type StepNews } from './api'
import { place } from './scores'

/** More points than pixels help nobody; the server keeps lows and highs when it thins out. */
const POINTS_MAX = 4000

/** A run's new steps are asked for this often at most. */
const FOLLOW_MS = 750

/** A run's checkpoints are asked for this often at most: they are rare. */
const DETAIL_MS = 10_000

export interface Curve {
  run: Run
  steps: Step[]
  checkpoints: number[]
}

class Curves {
  /** Newest run of each name, in the order of the score table. */
  items = $state.raw<Curve[]>([])
  /** Whether the first curves have arrived. */
  loaded = $state(false)

  #whole = new Set<number>()
  #detailed = new Map<number, number>()
  #asking = new Set<number>()
  /** The step that the news of a run told last. */
  #told = new Map<number, number>()
  #due = new Map<number, ReturnType<typeof setTimeout>>()

  /** Shows the newest run of each name. */
  async follow(runs: readonly Run[]) {
    const newest = new Map<string, Run>()
    for (const run of runs) if (!newest.has(run.name)) newest.set(run.name, run)
    const shown = [...newest.values()]
      .filter((run) => run.steps_total > 0)
      .sort((a, b) => place(a.name) - place(b.name) || a.id - b.id)
    this.items = shown.map((run) => {
      const known = this.items.find((item) => item.run.id === run.id)
      return { run, steps: known?.steps ?? [], checkpoints: known?.checkpoints ?? [] }
    })
    await Promise.all(
      this.items.map(({ run, steps }) => {
        const last = steps.at(-1)?.step ?? -1
        const behind = !this.#whole.has(run.id) || last + 1 < run.steps_done
        return behind ? this.#ask(run.id) : undefined
      }),
    )
    this.loaded = true
  }

  /** A run made a step. */
  hear(news: StepNews) {
    // A resumed run goes back to its checkpoint: what we have after it is no longer true. What we
    // have may be ahead of the news, which come in order.
    if (news.step < (this.#told.get(news.run_id) ?? 0)) this.#whole.delete(news.run_id)
    this.#told.set(news.run_id, news.step)
    const item = this.items.find((item) => item.run.id === news.run_id)
    if (!item || this.#due.has(news.run_id)) return
    const timer = setTimeout(() => {
      this.#due.delete(news.run_id)
      void this.#ask(news.run_id)
    }, FOLLOW_MS)
    this.#due.set(news.run_id, timer)
  }

  /** Something may have been missed: ask for whole curves again. */
  stale() {
    this.#whole.clear()
  }

  forget() {
    for (const timer of this.#due.values()) clearTimeout(timer)
    this.#due.clear()
    this.#told.clear()
    this.#whole.clear()
    this.items = []
    this.loaded = false
  }

  async #ask(id: number) {
    if (this.#asking.has(id)) return
    this.#asking.add(id)
    try {
      const item = this.items.find((item) => item.run.id === id)
      if (!item) return
      const whole = !this.#whole.has(id)
      const from = whole ? 0 : (item.steps.at(-1)?.step ?? -1) + 1
      this.#whole.add(id)
      const path = { id }
      const [more, checkpoints] = await Promise.all([
        take(
          client.GET('/runs/{id}/steps', {
            params: { path, query: { from, max_points: POINTS_MAX } },
          }),
        ),
        this.#checkpoints(item, whole),
      ])
      const steps = whole ? more.items : [...item.steps, ...more.items]
      this.items = this.items.map((other) =>
        other.run.id === id ? { ...other, steps, checkpoints } : other,
      )
    } catch {
      // The next event or snapshot asks again; the connection pill tells when none comes.
      this.#whole.delete(id)
    } finally {
      this.#asking.delete(id)
    }
  }

  async #checkpoints(item: Curve, now: boolean): Promise<number[]> {
    const id = item.run.id
    const done = item.run.state === 'done'
    const due = Date.now() - (this.#detailed.get(id) ?? 0) > DETAIL_MS
    if (!now && !due && !done) return item.checkpoints
    this.#detailed.set(id, Date.now())
    const detail = await take(client.GET('/runs/{id}', { params: { path: { id } } }))
    return detail.checkpoints.map((checkpoint) => checkpoint.step)
  }
}

export const curves = new Curves()
