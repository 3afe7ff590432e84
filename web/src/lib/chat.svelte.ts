/**
 * Conversations: one turn at a time, streamed, stopped on request; with one model or with two side
 * by side.
 *
 * Kept while the page is open, wherever one goes in it; the server keeps none.
 */

import { Failure, failure, failureOf, onLoggedOut } from './api'
import { defaults, request, type Sampling } from './sampling'
import { SseParser } from './sse'
import { ThoughtSplitter } from './thought'

export interface Turn {
  id: number
  role: 'user' | 'assistant'
  content: string
  thought: string
  /** Whether the answer is still being made. */
  busy: boolean
  /** Seconds until the solution began; 0 before. */
  thoughtSeconds: number
  seconds: number
  tokens: number
  model: string
  /** Why it ended: `stop`, `length`, or `stopped` by the reader. */
  finish: string
  /** The right answer, where the question is a held-out problem. */
  reference: string
  problem?: Failure
}

interface Chunk {
  model?: string
  choices?: {
    delta?: { content?: string | null; reasoning_content?: string | null }
    finish_reason?: string | null
  }[]
  usage?: { completion_tokens?: number } | null
  error?: unknown
}

/** A conversation with one model. */
export class Conversation {
  turns = $state<Turn[]>([])
  model = $state('')

  #abort: AbortController | undefined
  #ids = 0
  #sampling: () => Sampling

  constructor(sampling: () => Sampling) {
    this.#sampling = sampling
  }

  get busy(): boolean {
    return this.turns.at(-1)?.busy ?? false
  }

  clear() {
    this.stop()
    this.turns = []
  }

  /** Ends the answer that is being made: on the server too, which sees the connection close. */
  stop() {
    this.#abort?.abort()
  }

  async send(text: string, reference = '') {
    if (this.busy || !text.trim()) return
    this.turns.push({ ...this.#turn('user'), content: text.trim(), reference })
    await this.#answer()
  }

  /** Asks the last question again. */
  async again() {
    if (this.busy) return
    if (this.turns.at(-1)?.role === 'assistant') this.turns.pop()
    if (this.turns.length > 0) await this.#answer()
  }

  /** What asks for the last answer, or would for the next one. */
  request() {
    const last = this.turns.at(-1)?.role === 'assistant' ? -1 : undefined
    return request(this.model, this.turns.slice(0, last), this.#sampling())
  }

  #turn(role: Turn['role']): Turn {
    const id = ++this.#ids
    return {
      id,
      role,
      content: '',
      thought: '',
      busy: false,
      thoughtSeconds: 0,
      seconds: 0,
      tokens: 0,
      model: '',
      finish: '',
      reference: '',
    }
  }

  async #answer() {
    const reference = this.turns.at(-1)?.reference ?? ''
    const body = this.request()
    this.turns.push({ ...this.#turn('assistant'), busy: true, model: this.model, reference })
    const turn = this.turns.at(-1)
    if (!turn) return
    const abort = new AbortController()
    this.#abort = abort
    const began = performance.now()
    const splitter = new ThoughtSplitter()
    const show = () => {
      turn.thought = splitter.thought
      turn.content = splitter.solution
      turn.seconds = (performance.now() - began) / 1000
      if (!turn.thoughtSeconds && splitter.solution.trim()) turn.thoughtSeconds = turn.seconds
    }
    try {
      for await (const chunk of chunks(body, abort.signal)) {
        if (chunk.error !== undefined) throw failureOf(chunk, 500)
        take(chunk, turn, splitter)
        show()
      }
    } catch (thrown) {
      if (abort.signal.aborted) turn.finish = 'stopped'
      else turn.problem = failure(thrown)
    } finally {
      splitter.end()
      show()
      turn.busy = false
    }
  }
}

async function* chunks(body: object, signal: AbortSignal) {
  const response = await fetch('/api/v1/chat', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  })
  if (!response.ok || !response.body) {
    if (response.status === 401) onLoggedOut.forEach((hear) => hear())
    throw failureOf(await response.json().catch(() => undefined), response.status)
  }
  const parser = new SseParser()
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done)
      throw new Failure(
        'the answer ended in the middle',
        'try again; if it happens again, look at the server’s log',
        0,
      )
    for (const event of parser.push(value)) {
      if (event.data === '[DONE]') return
      yield JSON.parse(event.data) as Chunk
    }
  }
}

function take(chunk: Chunk, turn: Turn, splitter: ThoughtSplitter) {
  const choice = chunk.choices?.[0]
  if (chunk.model) turn.model = chunk.model
  if (choice?.delta?.reasoning_content) splitter.pushThought(choice.delta.reasoning_content)
  if (choice?.delta?.content) splitter.push(choice.delta.content)
  if (choice?.delta?.reasoning_content || choice?.delta?.content) turn.tokens += 1
  if (choice?.finish_reason) turn.finish = choice.finish_reason
  if (chunk.usage?.completion_tokens) turn.tokens = chunk.usage.completion_tokens
}

/** The page's conversations: the left one always, the right one while two models are compared. */
class Chat {
  sampling = $state<Sampling>({ ...defaults })
  draft = $state('')
  comparing = $state(false)

  readonly left = new Conversation(() => this.sampling)
  readonly right = new Conversation(() => this.sampling)

  constructor() {
    onLoggedOut.add(() => this.clear())
  }

  get shown(): Conversation[] {
    return this.comparing ? [this.left, this.right] : [this.left]
  }

  get busy(): boolean {
    return this.left.busy || this.right.busy
  }

  clear() {
    this.left.clear()
    this.right.clear()
  }

  stop() {
    this.left.stop()
    this.right.stop()
  }

  async send(text: string, reference = '') {
    if (this.busy) return
    await Promise.all(this.shown.map((side) => side.send(text, reference)))
  }
}

export const chat = new Chat()
