import { expect, test } from 'vitest'
import { curl, defaults, request } from './sampling'

const asked = [{ role: 'user', content: "What's 1 + 1?" }]

test('settings that say nothing are left out, but not those that the model may say', () => {
  expect(request('', asked, { ...defaults })).toEqual({
    messages: asked,
    temperature: 0.7,
    max_tokens: 512,
    top_p: 1,
    top_k: 0,
    min_p: 0,
    repetition_penalty: 1,
  })
})

test('every setting has its field', () => {
  const all = {
    system: ' Be brief. ',
    temperature: 0,
    maxTokens: 9,
    topP: 0.9,
    topK: 40,
    minP: 0.05,
    presence: 0.1,
    frequency: -0.2,
    repetition: 1.1,
    seed: 0,
    stop: 'END\n\nstop here',
  }
  expect(request('verified', asked, all)).toEqual({
    model: 'verified',
    messages: [{ role: 'system', content: 'Be brief.' }, ...asked],
    temperature: 0,
    max_tokens: 9,
    top_p: 0.9,
    top_k: 40,
    min_p: 0.05,
    presence_penalty: 0.1,
    frequency_penalty: -0.2,
    repetition_penalty: 1.1,
    seed: 0,
    stop: ['END', 'stop here'],
  })
})

test('an emptied field falls back instead of asking for null', () => {
  const emptied = { ...defaults, temperature: null as unknown as number, topP: NaN }
  expect(request('', asked, emptied)).toEqual(request('', asked, { ...defaults }))
})

test('the command for a shell survives quotes', () => {
  const command = curl('http://127.0.0.1:8642', request('m', asked, { ...defaults }))
  expect(command).toContain(`What'\\''s 1 + 1?`)
  expect(command.startsWith('curl http://127.0.0.1:8642/v1/chat/completions')).toBe(true)
})
