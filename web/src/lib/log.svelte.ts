/** The tail of a job's log, and what is added to it. */

import { client, failure, take, type Failure } from './api'

/** How often a running job's log is read on. */
const FOLLOW_MS = 1000

/** Lines kept on the page; the file has them all. */
const LINES_MAX = 5000

export class LogTail {
  lines = $state.raw<string[]>([])
  /** Whether the log begins before what is shown. */
  cut = $state(false)
  loaded = $state(false)
  problem = $state<Failure>()

  #id: number
  #next: number | undefined
  #rest = ''
  #timer: ReturnType<typeof setTimeout> | undefined
  #stopped = false
  #asking = false
  #over = false

  constructor(id: number) {
    this.#id = id
  }

  /** Reads on until the job is over and the end is reached. */
  follow(over: boolean) {
    const restarted = this.#over && !over
    this.#over = over
    if (this.#asking || (this.#timer !== undefined && !over) || (over && this.#done)) {
      if (!restarted) return
    }
    this.#done = false
    clearTimeout(this.#timer)
    this.#timer = undefined
    void this.#read()
  }

  stop() {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  /** The whole log, for a file. */
  async whole(): Promise<string> {
    let text = ''
    for (let offset = 0; ;) {
      const piece = await this.#ask(offset)
      text += piece.text
      if (piece.next <= offset) return text
      offset = piece.next
    }
  }

  #done = false

  #ask(offset?: number) {
    const query = offset === undefined ? {} : { offset }
    return take(client.GET('/jobs/{id}/log', { params: { path: { id: this.#id }, query } }))
  }

  async #read() {
    if (this.#asking || this.#stopped) return
    this.#asking = true
    let more = false
    try {
      const piece = await this.#ask(this.#next)
      if (this.#next === undefined) this.cut = piece.offset > 0
      more =
        piece.next > (this.#next ?? piece.offset) && !piece.complete && piece.text.length > 60_000
      this.#next = piece.next
      this.#add(piece.text)
      this.#done = piece.complete
      this.loaded = true
      this.problem = undefined
    } catch (thrown) {
      this.problem = failure(thrown)
    } finally {
      this.#asking = false
    }
    if (!this.#done && !this.#stopped) {
      this.#timer = setTimeout(
        () => {
          this.#timer = undefined
          void this.#read()
        },
        more ? 0 : FOLLOW_MS,
      )
    }
  }

  #add(text: string) {
    if (!text) return
    const parts = (this.#rest + text).split('\n')
    // The last part is a line that is not finished; it is shown, and replaced when it is.
    const shown = this.#rest ? this.lines.slice(0, -1) : this.lines
    this.#rest = parts.at(-1) ?? ''
    const fresh = this.#rest ? parts : parts.slice(0, -1)
    const lines = [...shown, ...fresh]
    if (lines.length > LINES_MAX) this.cut = true
    this.lines = lines.slice(-LINES_MAX)
  }
}
