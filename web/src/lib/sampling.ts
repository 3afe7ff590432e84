/** How an answer is sampled, and the request that says so. */

export interface Sampling {
  system: string
  temperature: number
  maxTokens: number
  topP: number
  /** 0: off. */
  topK: number
  minP: number
  presence: number
  frequency: number
  repetition: number
  /** Nothing: another answer every time. */
  seed: number | null
  /** One per line. */
  stop: string
}

export const defaults: Readonly<Sampling> = {
  system: '',
  temperature: 0.7,
  maxTokens: 512,
  topP: 1,
  topK: 0,
  minP: 0,
  presence: 0,
  frequency: 0,
  repetition: 1,
  seed: null,
  stop: '',
}

export interface Message {
  role: string
  content: string
}

/**
 * The body of a chat request. Where a model's authors may have their own idea of a setting, the one
 * shown here is sent, so that it holds; others that say nothing are left out.
 */
export function request(model: string, messages: readonly Message[], sampling: Sampling) {
  const number = (value: unknown, fallback: number) =>
    typeof value === 'number' && Number.isFinite(value) ? value : fallback
  const changed = (name: string, value: number, neutral: number) =>
    number(value, neutral) === neutral ? {} : { [name]: value }
  const system = sampling.system.trim()
  const stop = sampling.stop.split('\n').filter(Boolean)
  return {
    ...(model ? { model } : {}),
    messages: [
      ...(system ? [{ role: 'system', content: system }] : []),
      ...messages.map(({ role, content }) => ({ role, content })),
    ],
    temperature: number(sampling.temperature, defaults.temperature),
    max_tokens: number(sampling.maxTokens, defaults.maxTokens),
    top_p: number(sampling.topP, defaults.topP),
    top_k: number(sampling.topK, defaults.topK),
    min_p: number(sampling.minP, defaults.minP),
    repetition_penalty: number(sampling.repetition, defaults.repetition),
    ...changed('presence_penalty', sampling.presence, 0),
    ...changed('frequency_penalty', sampling.frequency, 0),
    ...(typeof sampling.seed === 'number' ? { seed: sampling.seed } : {}),
    ...(stop.length > 0 ? { stop } : {}),
  }
}

/** The same request for a shell; the key is the reader's own. */
export function curl(origin: string, body: object): string {
  const json = JSON.stringify(body, null, 2).replaceAll("'", `'\\''`)
  return [
    `curl ${origin}/v1/chat/completions \\`,
    `  -H 'Content-Type: application/json' \\`,
    `  -H "Authorization: Bearer $THINKERY_API_KEY" \\`,
    `  -d '${json}'`,
  ].join('\n')
}
