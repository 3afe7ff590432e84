/**
 * Parts an answer into thought and solution while it streams.
 *
 * A server that knows the format sends the thought apart; one that does not sends OpenThinker's tags in
 * the text, and a tag may be cut anywhere. Both end up in the same two strings.
 */

const TAGS = {
  '<|begin_of_thought|>': 'thought',
  '<|end_of_thought|>': 'solution',
  '<|begin_of_solution|>': 'solution',
  '<|end_of_solution|>': 'solution',
  '<think>': 'thought',
  '</think>': 'solution',
} as const

type Part = 'thought' | 'solution'

const TAG = /<\|(?:begin|end)_of_(?:thought|solution)\|>|<\/?think>/
const names = Object.keys(TAGS)

export class ThoughtSplitter {
  thought = ''
  solution = ''
  #part: Part = 'solution'
  #held = ''

  /** A piece of thought that the server has already told apart. */
  pushThought(text: string) {
    this.thought += text
  }

  /** A piece of text that may hold tags, or halves of them. */
  push(text: string) {
    let rest = this.#held + text
    for (let found = TAG.exec(rest); found; found = TAG.exec(rest)) {
      this.#add(rest.slice(0, found.index))
      this.#part = TAGS[found[0] as keyof typeof TAGS]
      rest = rest.slice(found.index + found[0].length)
    }
    const held = heldBack(rest)
    this.#add(rest.slice(0, rest.length - held))
    this.#held = rest.slice(rest.length - held)
  }

  /** Nothing more comes: what looked like half a tag was text. */
  end() {
    this.#add(this.#held)
    this.#held = ''
    this.thought = this.thought.trim()
    this.solution = this.solution.trim()
  }

  #add(text: string) {
    if (this.#part === 'thought') this.thought += text
    else this.solution += text
  }
}

/** How many characters at the end of `text` could be the start of a tag. */
function heldBack(text: string): number {
  const from = text.lastIndexOf('<')
  if (from < 0) return 0
  const tail = text.slice(from)
  return names.some((name) => name.length > tail.length && name.startsWith(tail)) ? tail.length : 0
}

/** The last line of a thought that has words in it: what the model thinks right now. */
export function lastLine(thought: string): string {
  const lines = thought.split('\n')
  for (let i = lines.length - 1; i >= 0; i--) {
    const line = lines[i]?.trim()
    if (line) return line
  }
  return ''
}
