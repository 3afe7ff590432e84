/** What must never happen on any page, and the checks that every page must pass. */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { expect, type BrowserContext, type Page } from '@playwright/test'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

export class Guard {
  #found: string[] = []
  #expected: RegExp[] = []
  #host: string

  constructor(url: string) {
    this.#host = new URL(url).host
  }

  async watch(context: BrowserContext) {
    context.on('console', (message) => {
      if (message.type() === 'error')
        this.#add(`console: ${message.text()} (${message.location().url})`)
    })
    context.on('weberror', (error) => this.#add(`page error: ${error.error().message}`))
    context.on('request', (request) => {
      const url = new URL(request.url())
      if (/^https?:$/.test(url.protocol) && url.host !== this.#host)
        this.#add(`foreign request: ${url}`)
    })
    await context.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (event) =>
        console.error(
          `CSP violation: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`,
        ),
      )
    })
  }

  /** An error that the test provokes: the browser logs every 401 by itself. */
  expect(message: RegExp) {
    this.#expected.push(message)
  }

  check() {
    const found = this.#found.splice(0)
    this.#expected = []
    expect(found, 'console errors, CSP violations, page errors, foreign requests').toEqual([])
  }

  #add(what: string) {
    if (!this.#expected.some((expected) => expected.test(what))) this.#found.push(what)
  }
}

/** No serious or critical violation of WCAG 2.2 A and AA, in light and in dark. */
export async function accessible(page: Page) {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await page.evaluate((source) => void (0, eval)(source), axe)
    const found = await page.evaluate(async () => {
      const { axe } = window as unknown as {
        axe: { run(where: Document, options: object): Promise<{ violations: Violation[] }> }
      }
      interface Violation {
        id: string
        impact: string
        nodes: { html: string; failureSummary: string }[]
      }
      const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
      const { violations } = await axe.run(document, { runOnly: { type: 'tag', values: tags } })
      return violations
        .filter((v) => v.impact === 'serious' || v.impact === 'critical')
        .map((v) => `${v.id}: ${v.nodes[0]?.html} ${v.nodes[0]?.failureSummary}`)
    })
    expect(found, `accessibility of ${page.url()} in ${colorScheme}`).toEqual([])
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: null })
}

export async function noSidewaysScroll(page: Page) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
  expect(wide, `${page.url()} is wider than the window`).toBeLessThanOrEqual(0)
}
