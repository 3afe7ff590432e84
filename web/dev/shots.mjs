// Takes pictures of every page, light and dark, wide and narrow: look at them after a change.
//
//   node dev/shots.mjs URL PASSWORD OUT_DIR [PATH…]
import { mkdirSync } from 'node:fs'
import { chromium } from '@playwright/test'

const [url = 'http://127.0.0.1:8643', password = 'x', out = 'test-results/shots', ...paths] =
  process.argv.slice(2)
mkdirSync(out, { recursive: true })
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--no-first-run',
    '--disable-quic',
  ],
})
for (const colorScheme of ['light', 'dark']) {
  for (const [name, width, height] of [
    ['wide', 1280, 800],
    ['narrow', 390, 844],
  ]) {
    const context = await browser.newContext({ colorScheme, viewport: { width, height } })
    const page = await context.newPage()
    page.on(
      'console',
      (message) => message.type() === 'error' && console.log('console:', message.text()),
    )
    page.on('pageerror', (error) => console.log('pageerror:', error.message))
    await page.goto(url + '/')
    await page.waitForSelector('h1')
    await page.waitForTimeout(400)
    if (await page.locator('#password').isVisible()) {
      await page.screenshot({ path: `${out}/door-${colorScheme}-${name}.png` })
      await page.fill('#password', password)
      await page.keyboard.press('Enter')
      await page.waitForSelector('nav')
    }
    for (const path of paths.length ? paths : ['/', '/jobs', '/chat']) {
      await page.goto(url + path)
      await page.waitForTimeout(1200)
      const file = path === '/' ? 'dashboard' : path.slice(1).replaceAll('/', '-')
      await page.screenshot({ path: `${out}/${file}-${colorScheme}-${name}.png`, fullPage: true })
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)
      if (wide) console.log(`${file} ${name}: scrolls sideways`)
    }
    await context.close()
  }
}
await browser.close()
