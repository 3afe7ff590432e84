/**
 * A model's answer as HTML. Model text is hostile: raw HTML is shown as text, links may only be http,
 * https or mailto, images are not loaded, and what is left goes through DOMPurify.
 *
 * Maths becomes `<span class="tex">` with its source; `tex.ts` renders those that come into view.
 */

import DOMPurify from 'dompurify'
import { Marked, type TokenizerAndRendererExtension, type Tokens } from 'marked'

const escapes: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
export const escapeHtml = (text: string) => text.replace(/[&<>"']/g, (c) => escapes[c] ?? c)

interface Rule {
  name: string
  level: 'block' | 'inline'
  hint: string
  match: RegExp
  display: boolean
}

const RULES: Rule[] = [
  {
    name: 'bracketBlock',
    level: 'block',
    hint: '\\[',
    match: /^\\\[([\s\S]+?)\\\][ \t]*(?:\n+|$)/,
    display: true,
  },
  {
    name: 'dollarBlock',
    level: 'block',
    hint: '$$',
    match: /^\$\$([\s\S]+?)\$\$[ \t]*(?:\n+|$)/,
    display: true,
  },
  { name: 'bracket', level: 'inline', hint: '\\[', match: /^\\\[([\s\S]+?)\\\]/, display: true },
  { name: 'paren', level: 'inline', hint: '\\(', match: /^\\\(([\s\S]+?)\\\)/, display: false },
  { name: 'dollars', level: 'inline', hint: '$$', match: /^\$\$([\s\S]+?)\$\$/, display: true },
  // `$5 and $6` is money: no space inside the dollars, no digit after them.
  {
    name: 'dollar',
    level: 'inline',
    hint: '$',
    match: /^\$((?:\\[\s\S]|[^\s$\\])(?:(?:\\[\s\S]|[^$\\\n])*?(?:\\[\s\S]|[^\s$\\]))?)\$(?!\d)/,
    display: false,
  },
]

function extension(rule: Rule): TokenizerAndRendererExtension {
  return {
    name: rule.name,
    level: rule.level,
    start: (text) => {
      const at = text.indexOf(rule.hint)
      return at < 0 ? undefined : at
    },
    tokenizer(text) {
      const found = rule.match.exec(text)
      return found ? { type: rule.name, raw: found[0], text: (found[1] ?? '').trim() } : undefined
    },
    renderer(token) {
      const source = escapeHtml((token as Tokens.Text).text)
      const kind = rule.display ? 'tex display' : 'tex'
      return `<span class="${kind}">${source}</span>`
    },
  }
}

const marked = new Marked({
  gfm: true,
  breaks: false,
  extensions: RULES.map(extension),
  renderer: {
    html: ({ text }) => escapeHtml(text),
    image: ({ text, href }) => escapeHtml(`[image: ${text || href}]`),
    link({ href, tokens }) {
      const inner = this.parser.parseInline(tokens)
      return /^(?:https?:|mailto:)/i.test(href)
        ? `<a href="${escapeHtml(href)}" target="_blank" rel="noopener noreferrer">${inner}</a>`
        : inner
    },
  },
})

const CLEAN = {
  ALLOWED_TAGS: [
    'p',
    'br',
    'hr',
    'strong',
    'em',
    'del',
    'code',
    'pre',
    'ul',
    'ol',
    'li',
    'blockquote',
    'a',
    'span',
    'h1',
    'h2',
    'h3',
    'h4',
    'h5',
    'h6',
    'table',
    'thead',
    'tbody',
    'tr',
    'th',
    'td',
  ],
  ALLOWED_ATTR: ['href', 'class', 'target', 'rel', 'start', 'align'],
  ALLOW_DATA_ATTR: false,
}

export function render(text: string): string {
  return DOMPurify.sanitize(marked.parse(text, { async: false }), CLEAN)
}

/** Parts of a text that render alone, so that a stream only renders its last part again. */
export function blocks(text: string): string[] {
  return marked
    .lexer(text)
    .filter((token) => token.type !== 'space')
    .map((token) => token.raw)
}
