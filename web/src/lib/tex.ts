/** Renders maths when it comes into view. KaTeX and its fonts are only loaded by a page that has some. */

type Katex = typeof import('katex').default

let katex: Promise<Katex> | undefined

async function load(): Promise<Katex> {
  const [module] = await Promise.all([import('katex'), import('katex/dist/katex.min.css')])
  return module.default
}

function draw(katex: Katex, span: HTMLElement) {
  if (span.dataset.done) return
  const source = span.textContent ?? ''
  span.dataset.done = 'yes'
  span.title = source
  katex.render(source, span, {
    displayMode: span.classList.contains('display'),
    throwOnError: false,
    trust: false,
    strict: 'ignore',
    maxExpand: 1000,
    output: 'htmlAndMathml',
  })
}

/** An attachment: renders the `.tex` spans below a node as they come into view. */
export function maths(node: HTMLElement): () => void {
  const seen = new IntersectionObserver(
    (entries) => {
      const spans = entries.filter((e) => e.isIntersecting).map((e) => e.target as HTMLElement)
      if (spans.length === 0) return
      for (const span of spans) seen.unobserve(span)
      katex ??= load()
      void katex.then((katex) => spans.forEach((span) => draw(katex, span)))
    },
    { rootMargin: '200px' },
  )
  const find = () => {
    for (const span of node.querySelectorAll<HTMLElement>('.tex:not([data-done])'))
      seen.observe(span)
  }
  const changed = new MutationObserver(find)
  changed.observe(node, { childList: true, subtree: true })
  find()
  return () => {
    seen.disconnect()
    changed.disconnect()
  }
}
