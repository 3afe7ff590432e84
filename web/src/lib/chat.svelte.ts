/**
 * Conversations: one turn at a time, streamed, stopped on request.
 *
 * Kept while the page is open, wherever one goes in it; the server keeps none.
 */

import { Failure, failure, failureOf, onLoggedOut } from './api'
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

class Chat {
  turns = $state<Turn[]>([])
  model = $state('')
  temperature = $state(0.7)
  maxTokens = $state(512)
  draft = $state('')

  #abort: AbortController | undefined
  #ids = 0

  constructor() {
    onLoggedOut.add(() => this.clear())
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
    const messages = this.turns.map(({ role, content }) => ({ role, content }))
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
      for await (const chunk of this.#chunks(messages, abort.signal)) {
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

  async *#chunks(messages: { role: string; content: string }[], signal: AbortSignal) {
    const response = await fetch('/api/v1/chat', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        ...(this.model ? { model: this.model } : {}),
        messages,
        stream: true,
        temperature: this.temperature,
        max_tokens: this.maxTokens,
      }),
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

export const chat = new Chat()
