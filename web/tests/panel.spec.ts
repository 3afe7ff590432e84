/** A user's first day, in Chromium, against the real binary. Every test goes on where the last one ended. */

import { expect, test as base, type BrowserContext, type Page } from '@playwright/test'
import { Guard, accessible, noSidewaysScroll } from './guard'
import { QUICK } from '../src/lib/quick'
import { Server } from './server'

const PASSWORD = 'correct horse battery'

/** The quick look ends within minutes even on a busy machine with two cores. */
const REHEARSAL_MS = 12 * 60_000

const test = base.extend<
  object,
  { server: Server; guard: Guard; context1: BrowserContext; page1: Page }
>({
  server: [
    async ({}, use) => {
      const server = new Server()
      try {
        await server.start()
        await use(server)
      } finally {
        await server.end()
      }
    },
    { scope: 'worker', timeout: 90_000 },
  ],
  guard: [async ({ server }, use) => use(new Guard(server.url)), { scope: 'worker' }],
  context1: [
    async ({ browser, server, guard }, use) => {
      const context = await browser.newContext({
        baseURL: server.url,
        viewport: { width: 1280, height: 800 },
      })
      await guard.watch(context)
      await use(context)
      await context.close()
    },
    { scope: 'worker' },
  ],
  page1: [async ({ context1 }, use) => use(await context1.newPage()), { scope: 'worker' }],
})

test.describe.configure({ mode: 'serial' })

test.afterEach(({ guard }) => guard.check())

const stage = (page: Page, name: string) => page.locator(`[data-stage=${name}]`)
const stages = ['questions', 'distill', 'verify', 'dataset', 'train', 'evaluate', 'serve']
const api = async (page: Page, path: string) => (await page.request.get(`/api/v1${path}`)).json()

test('a first visitor without the link is asked for the setup token', async ({ page1, server }) => {
  await page1.goto(server.url + '/')
  await expect(page1.getByRole('heading', { level: 1, name: 'Welcome' })).toBeVisible()
  await expect(page1.getByLabel('Setup token')).toBeVisible()
  await accessible(page1)
})

test('a wrong setup token is refused', async ({ page1, guard }) => {
  guard.expect(/40[0-9]/)
  await page1.getByLabel('Setup token').fill('nonsense')
  await page1.getByLabel('Password').fill(PASSWORD)
  await page1.getByLabel('Once more').fill(PASSWORD)
  await page1.getByRole('button', { name: 'Set password' }).click()
  await expect(page1.getByRole('alert')).toBeVisible()
})

test('the setup link leads through a password to the dashboard', async ({ page1, server }) => {
  const link = server.setupUrl()
  await page1.goto('about:blank')
  await page1.goto(link)
  await expect(page1.getByLabel('Setup token')).toBeHidden()
  expect(page1.url(), 'the token leaves the address bar').not.toContain('token')

  await page1.getByLabel('Password').fill('short')
  await page1.getByLabel('Once more').fill('other')
  await page1.getByRole('button', { name: 'Set password' }).click()
  await expect(page1.getByText('The two are not the same.')).toBeVisible()
  await expect(page1.getByLabel('Password')).toHaveAttribute('aria-invalid', 'true')

  await page1.getByLabel('Password').fill(PASSWORD)
  await page1.getByLabel('Once more').fill(PASSWORD)
  await page1.getByRole('button', { name: 'Set password' }).click()
  await expect(page1.getByRole('heading', { level: 1, name: 'Dashboard' })).toBeVisible()
  await expect(page1).toHaveTitle('Dashboard · Thinkery')
  await expect(page1.getByRole('status').filter({ hasText: 'Live' })).toBeVisible()
})

test('the empty dashboard names every stage and is accessible', async ({ page1 }) => {
  for (const name of stages) await expect(stage(page1, name)).toContainText('Not started')
  await expect(page1.getByText('thinkery run rehearsal', { exact: true })).toBeVisible()
  await accessible(page1)
})

test('a second browser is asked to log in; a wrong password is refused, the right one taken', async ({
  browser,
  server,
  guard,
}) => {
  const context = await browser.newContext({ baseURL: server.url })
  await guard.watch(context)
  guard.expect(/status of 401/)
  const page = await context.newPage()
  await page.goto('/jobs')
  await expect(page.getByRole('heading', { level: 1, name: 'Log in' })).toBeVisible()
  await accessible(page)
  await page.getByLabel('Password').fill('not the password')
  await page.getByRole('button', { name: 'Log in' }).click()
  await expect(page.getByRole('alert')).toBeVisible()
  await page.getByLabel('Password').fill(PASSWORD)
  await page.getByRole('button', { name: 'Log in' }).click()
  await expect(page.getByRole('heading', { level: 1, name: 'Jobs' })).toBeVisible()
  await context.close()
})

test('every page is reached by keyboard, has a title and one heading, and is accessible', async ({
  page1,
}) => {
  await page1.goto('/')
  await expect(page1.getByRole('heading', { level: 1 })).toHaveText('Dashboard')
  await page1.keyboard.press('Tab')
  await expect(page1.getByRole('link', { name: 'Skip to content' })).toBeFocused()
  await page1.keyboard.press('Enter')
  await expect(page1.locator('main')).toBeFocused()
  for (const name of ['Verify', 'Train', 'Jobs', 'Models', 'Chat', 'Dashboard']) {
    const link = page1.getByRole('navigation').getByRole('link', { name })
    await page1.locator('.brand').focus()
    for (
      let i = 0;
      i < 6 && !(await link.evaluate((node) => node === document.activeElement));
      i++
    ) {
      await page1.keyboard.press('Tab')
    }
    await page1.keyboard.press('Enter')
    await expect(page1.getByRole('heading', { level: 1 })).toHaveText(name)
    await expect(page1).toHaveTitle(`${name} · Thinkery`)
    await expect(link).toHaveAttribute('aria-current', 'page')
    await accessible(page1)
  }
})

test('an unknown page says so; a missing asset is a real 404', async ({ page1, guard }) => {
  await page1.goto('/nowhere')
  await expect(page1.getByRole('heading', { level: 1 })).toHaveText('There is no such page')
  expect((await page1.request.get('/assets/nothing.js')).status()).toBe(404)
  guard.expect(/404/)
  const answer = await page1.request.get('/api/v1/nothing')
  expect(answer.status()).toBe(404)
  expect((await answer.json()).error.code).toBeTruthy()
})

test('light and dark are chosen, and stay chosen', async ({ page1 }) => {
  await page1.goto('/')
  const ground = () => page1.evaluate(() => getComputedStyle(document.body).backgroundColor)
  const light = await ground()
  await page1.getByRole('button', { name: 'Dark', exact: true }).click()
  const dark = await ground()
  expect(dark).not.toBe(light)
  await page1.reload()
  await expect(page1.getByRole('heading', { level: 1 })).toBeVisible()
  expect(await ground()).toBe(dark)
  await page1.getByRole('button', { name: 'As the system' }).click()
  expect(await ground()).toBe(light)
})

test('the quick look starts with one click, and stops with one', async ({ page1 }) => {
  await page1.goto('/')
  await page1.getByText('Quick look', { exact: true }).click()
  await expect(page1.getByText('its scores mean nothing')).toBeVisible()
  await page1.getByRole('button', { name: 'Start rehearsal' }).click()
  await expect(page1.getByRole('button', { name: 'Stop', exact: true })).toBeVisible()
  await expect(stage(page1, 'questions')).not.toContainText('Not started')

  const stop = page1.getByRole('button', { name: 'Stop', exact: true })
  await stop.click()
  await expect(
    page1
      .getByRole('button', { name: 'Stopping…' })
      .or(page1.getByRole('button', { name: 'Resume rehearsal' })),
  ).toBeVisible({ timeout: 1000 })
  await expect(page1.getByRole('button', { name: 'Resume rehearsal' })).toBeVisible()
})

test('it is resumed, and every stage comes alive', async ({ page1 }) => {
  test.setTimeout(REHEARSAL_MS)
  await page1.getByText('Quick look', { exact: true }).click()
  await page1.getByRole('button', { name: 'Resume rehearsal' }).click()
  for (const name of ['questions', 'distill', 'verify', 'dataset']) {
    await expect(stage(page1, name)).toContainText('Done', { timeout: REHEARSAL_MS })
  }
  await expect(page1.getByRole('img', { name: /Training loss over steps/ })).toBeVisible({
    timeout: REHEARSAL_MS,
  })
})

test('a reload in the middle shows the same numbers and the whole curve', async ({
  page1,
  browser,
  server,
  guard,
}) => {
  const chart = (page: Page) => page.getByRole('img', { name: /Training loss over steps/ })
  const first = await chart(page1).getAttribute('aria-label')
  const begin = /loss \w+ from ([\d.]+)/.exec(first ?? '')?.[1]
  expect(begin, `the first loss in: ${first}`).toBeTruthy()
  await page1.reload()
  await expect(chart(page1)).toHaveAttribute('aria-label', new RegExp(`from ${begin} to`))

  const counted = (page: Page) => stage(page, 'verify').locator('.figure').innerText()
  const context = await browser.newContext({ baseURL: server.url })
  await guard.watch(context)
  const page2 = await context.newPage()
  await page2.goto('/')
  await page2.getByLabel('Password').fill(PASSWORD)
  await page2.getByRole('button', { name: 'Log in' }).click()
  await expect(chart(page2)).toHaveAttribute('aria-label', new RegExp(`from ${begin} to`))
  expect(await counted(page2)).toBe(await counted(page1))
  await context.close()
})

test('it finishes: the curve is whole, the scores have their error, a model is ready', async ({
  page1,
}) => {
  test.setTimeout(REHEARSAL_MS)
  for (const name of stages)
    await expect(stage(page1, name)).toContainText('Done', { timeout: REHEARSAL_MS })
  await expect(page1.getByRole('button', { name: 'Run rehearsal again' })).toBeVisible()

  const { items: runs } = await api(page1, '/runs')
  const label =
    (await page1.getByRole('img', { name: /Training loss/ }).getAttribute('aria-label')) ?? ''
  for (const name of ['unverified', 'verified']) {
    const run = runs.find((run: { name: string }) => run.name === name)
    const { items } = await api(page1, `/runs/${run.id}/steps`)
    expect(items.length, `steps of ${name}`).toBe(run.steps_total)
    expect(label).toMatch(
      new RegExp(`\\b${name}: loss .* over ${run.steps_total.toLocaleString('en')} steps`),
    )
  }
  await page1.getByRole('button', { name: 'View as table' }).click()
  await expect(page1.getByRole('region', { name: 'Training loss as a table' })).toBeVisible()

  const scores = page1.getByRole('region', { name: /^Scores on/ })
  await expect(scores.getByRole('columnheader')).toHaveText([
    'Family',
    'untrained',
    'unverified',
    'verified',
  ])
  const overall = scores.getByRole('row').nth(1)
  await expect(overall).toContainText('Overall')
  await expect(overall).toContainText(/[\d.]+\s*±\s*[\d.]+\s*n = \d+/)
  await expect(page1.getByText('From a quick look')).toBeVisible()
  await expect(page1.getByRole('link', { name: 'Chat with it' })).toBeVisible()
  await accessible(page1)
})

test('every verdict has its place, its why and its evidence', async ({ page1 }) => {
  const summary = await api(page1, '/verify/summary')
  const sandbox = await api(page1, '/verify/sandbox')
  await page1.goto('/')
  await page1.getByRole('navigation').getByRole('link', { name: 'Verify' }).click()
  await expect(page1.getByRole('heading', { level: 1 })).toHaveText('Verify')
  const matrix = page1.getByRole('region', { name: 'Outcomes by domain' })
  for (const row of [...summary.domains, summary.total]) {
    const numbers = [row.traces, row.correct, row.wrong, row.unchecked, row.unreadable]
    const cells = matrix.locator(`[data-domain=${row.domain}]`).getByRole('cell')
    for (const [i, number] of numbers.entries())
      await expect(cells.nth(i)).toHaveText(number.toLocaleString('en'))
  }
  await expect(matrix.getByRole('columnheader', { name: 'OpenThoughts' })).toBeVisible()
  for (const [outcome, number] of Object.entries(summary.total.outcomes)) {
    const said = `${outcome.replaceAll('_', ' ')} ${Number(number).toLocaleString('en')}`
    await expect(page1.locator('[data-outcomes=total]')).toContainText(said)
  }
  await expect(page1.getByRole('heading', { name: 'Sandbox' })).toBeVisible()
  await expect(page1.getByText(sandbox.tier, { exact: true }).first()).toBeVisible()
  if (sandbox.lost) await expect(page1.getByText(sandbox.lost)).toBeVisible()
  for (const { why } of sandbox.refused) await expect(page1.getByText(why)).toBeVisible()
  const { probes } = sandbox
  await page1.getByText(`${probes.length} of ${probes.length} hostile programs held`).click()
  for (const { tries } of probes) await expect(page1.getByText(`${tries}: held`)).toBeVisible()
  await accessible(page1)

  const slow = summary.slowest[0].trace_id
  await page1.getByRole('link', { name: String(slow), exact: true }).click()
  await expect(page1.getByRole('heading', { level: 1 })).toHaveText(`Trace ${slow}`)
  const detail = await api(page1, `/traces/${slow}/verdict`)
  const tests = page1.getByRole('region', { name: 'Tests', exact: true })
  await expect(tests.locator('tbody > tr')).toHaveCount(detail.tests.length)
  await tests.getByRole('button', { name: '1', exact: true }).click()
  await expect(page1.getByRole('region', { name: 'Expected' })).toHaveText(detail.tests[0].expected)
  await page1.getByRole('button', { name: 'Replay' }).click()
  await expect(page1.getByText('The same came out again')).toBeVisible({ timeout: 60_000 })
  await accessible(page1)

  const { items: wrong } = await api(page1, '/traces?verdict=wrong&limit=1000')
  for (const { id } of wrong.filter((trace: { domain: string }) => trace.domain === 'code')) {
    const { tests: run } = await api(page1, `/traces/${id}/verdict`)
    const failed = run.find((test: { diff: unknown }) => test.diff)
    if (!failed) continue
    await page1.goto(`/traces/${id}`)
    const difference = page1.getByRole('region', { name: 'Difference' })
    await expect(difference.locator('del, ins').first()).toBeVisible()
    await accessible(page1)
    break
  }

  const { items } = await api(page1, '/traces?verdict=wrong&limit=1')
  await page1.goto(`/traces/${items[0].id}`)
  await expect(page1.getByText('Extracted answer')).toBeVisible()
  await expect(page1.getByText('Reference read as')).toBeVisible()
  await accessible(page1)
})

test('a person decides by keys, takes it back, and is remembered', async ({ page1 }) => {
  const { items } = await api(page1, '/traces?verdict=wrong&limit=2')
  const [first, second] = items.map((trace: { id: number }) => trace.id)
  for (const id of [first, second]) {
    await page1.goto(`/traces/${id}`)
    await page1.getByLabel('Why (kept with the decision)').fill('looked at it')
    await page1.getByRole('button', { name: 'Accept' }).click()
    await expect(page1.getByText('says human')).toBeVisible()
    await page1.getByRole('button', { name: 'Reopen' }).click()
    await expect(page1.getByText('Review: open.')).toBeVisible()
  }
  await page1.goto('/verify')
  const queue = page1.locator('.queue')
  await expect(queue.getByRole('link', { name: `trace ${first}` })).toBeVisible()
  await accessible(page1)
  await page1.keyboard.press('j')
  await expect(queue.getByRole('link', { name: `trace ${second}` })).toBeVisible()
  await page1.keyboard.press('k')
  await page1.keyboard.press('a')
  await expect(queue.getByText(`Trace ${first}: accepted.`)).toBeVisible()
  await expect(queue.getByRole('link', { name: `trace ${second}` })).toBeVisible()
  await page1.keyboard.press('r')
  await expect(queue.getByText(`Trace ${second}: rejected.`)).toBeVisible()
  await expect(queue.getByText('Nothing waits for a person')).toBeVisible()
  await page1.keyboard.press('u')
  await expect(queue.getByText(`Trace ${second} is open again.`)).toBeVisible()
  await page1.keyboard.press('s')
  await expect(queue.getByText(`Trace ${second}: skipped.`)).toBeVisible()
  const detail = await api(page1, `/traces/${first}/verdict`)
  expect(detail.decided).toMatchObject({ verdict: 'correct', verifier: 'human' })
  const actions = detail.log.map((entry: { action: string }) => entry.action)
  expect(actions).toEqual(['accept', 'reopen', 'accept'])
})

test('eight tabs are live at once', async ({ context1 }) => {
  const pages: Page[] = []
  for (let i = 0; i < 8; i++) {
    const page = await context1.newPage()
    pages.push(page)
    await page.goto('/')
    await expect(page.getByRole('status').filter({ hasText: 'Live' })).toBeVisible()
    await expect(stage(page, 'verify')).toContainText('Done')
  }
  await Promise.all(pages.map((page) => page.close()))
})

test('jobs are listed with their state; each has its log and configuration', async ({ page1 }) => {
  await page1.getByRole('navigation').getByRole('link', { name: 'Jobs' }).click()
  await expect(page1.getByRole('heading', { level: 1 })).toHaveText('Jobs')
  const row = page1.getByRole('row', { name: /Train/ }).first()
  await expect(row).toContainText('Done')
  await accessible(page1)
  await row.getByRole('link').click()
  await expect(page1.getByRole('heading', { level: 1 })).toContainText('Train')
  await expect(page1.getByRole('log')).not.toContainText('Reading')
  const [file] = await Promise.all([
    page1.waitForEvent('download'),
    page1.getByRole('button', { name: 'Download' }).click(),
  ])
  expect(file.suggestedFilename()).toMatch(/^job-\d+\.log$/)
  await page1.getByText('Configuration it runs with').click()
  await expect(page1.locator('details').last()).toContainText('{')
  await accessible(page1)
})

test('the model answers in the chat, its thought folded', async ({ page1 }) => {
  await page1.goto('/')
  await page1.getByRole('link', { name: 'Chat with it' }).click()
  await expect(page1.getByRole('heading', { level: 1 })).toHaveText('Chat')
  await page1.getByLabel('Message').fill('What is 17 + 25?')
  await page1.keyboard.press('Enter')
  await expect(page1.getByRole('button', { name: 'Copy answer' })).toBeVisible({ timeout: 60_000 })
  await expect(page1.getByText(/\d+ tokens/)).toBeVisible()
  await expect(page1.getByRole('alert')).toHaveCount(0)
  await accessible(page1)
})

test('models show where they are and what they do, and are loaded and unloaded', async ({
  page1,
}) => {
  await page1.getByRole('navigation').getByRole('link', { name: 'Models' }).click()
  const verified = page1.locator('[data-model=verified]')
  // The chat has just asked it.
  await expect(verified.getByText('In memory', { exact: true })).toBeVisible()
  await expect(verified.getByRole('rowheader')).toHaveText('cpu')
  await expect(verified.locator('[data-cell=generated]')).toHaveText(/^[1-9][\d,]* tokens?$/)
  await expect(verified.locator('[data-cell=speed]')).toHaveText('0.0 tokens/s')
  await accessible(page1)
  await verified.getByRole('button', { name: 'Unload' }).click()
  await expect(verified.getByText('Not in memory')).toBeVisible()
  expect((await api(page1, '/models/loaded')).items).toEqual([])
  await verified.getByRole('button', { name: 'Load' }).click()
  await expect(verified.getByText('In memory', { exact: true })).toBeVisible()
  await expect(page1.getByText(`${new URL(page1.url()).origin}/v1`, { exact: true })).toBeVisible()
})

test('a run is planned before it begins, setting by setting', async ({ page1 }) => {
  await page1.getByRole('navigation').getByRole('link', { name: 'Train' }).click()
  await expect(page1.getByRole('heading', { level: 1 })).toHaveText('Train')
  const takes = page1.getByRole('region', { name: 'What it takes' })
  await expect(takes).toContainText(/GiB of each GPU, which has 76\.4/)
  await expect(takes).toContainText('3,561')
  await expect(takes.getByText(/^(fits|tight)$/)).toBeVisible()
  await accessible(page1)

  // One GPU is too few for the published model, and the page says what would help.
  await page1.getByLabel('GPUs to plan for').fill('1')
  await expect(takes.getByText('does not fit', { exact: true })).toBeVisible()
  await expect(takes).toContainText('the cheapest change that fits')
  await page1.getByLabel('GPUs to plan for').fill('8')

  // What cannot be is said in place, and taken back.
  const rate = page1.getByLabel(/^learning_rate/)
  await rate.fill('-1')
  await rate.blur()
  await expect(takes.getByRole('listitem').filter({ hasText: 'learning_rate' })).toBeVisible()
  await expect(page1.getByRole('button', { name: 'Start', exact: true })).toBeDisabled()
  await page1.getByRole('button', { name: 'Restore learning_rate' }).click()
  await expect(rate).toHaveValue('0.00001')

  const epochs = page1.getByLabel(/^epochs/)
  await epochs.fill('1')
  await epochs.blur()
  await expect(page1.getByText('thinkery run openthinker_7b --set train.epochs=1')).toBeVisible()
  await expect(takes).toContainText('1,187')
})

test('an example is shown as tokens, with what is trained on', async ({ page1 }) => {
  await page1.getByLabel('Preset').selectOption('rehearsal')
  const example = page1.getByRole('region', { name: 'One example' })
  await example.getByRole('button', { name: 'Show an example' }).click()
  const tokens = example.getByRole('region', { name: 'Tokens of row 1' })
  // The question is not trained on, the answer and its end are: said in words, not by colour alone.
  await expect(tokens).toContainText(/Not trained on:.*<\|im_start\|>user.* Trained on:/s)
  await expect(tokens).toContainText('<|endoftext|>')
  await expect(example).toContainText(/Row 1: \d+ tokens, \d+ trained on, \d+ not/)
  await accessible(page1)
  const first = await tokens.textContent()
  await example.getByRole('button', { name: 'Next' }).click()
  const second = example.getByRole('region', { name: 'Tokens of row 2' })
  await expect(second).toBeVisible()
  expect(await second.textContent()).not.toBe(first)
  await example.getByRole('button', { name: 'Previous' }).click()
  await expect(tokens).toHaveText(first ?? '')

  // What the form says decides: a short cutoff cuts.
  const cutoff = page1.getByLabel(/^cutoff_len/)
  await cutoff.fill('24')
  await cutoff.blur()
  await expect(example).toContainText(/Row 1: 24 tokens.*cut to train\.cutoff_len/)
  await page1.getByRole('button', { name: 'Restore cutoff_len' }).click()
})

test('a run has its curves, its events, its certificate and its checkpoints', async ({ page1 }) => {
  const { items: runs } = await api(page1, '/runs')
  const run = runs.find((run: { name: string }) => run.name === 'verified')
  const list = page1.getByRole('region', { name: 'Training runs' })
  await list.getByRole('link', { name: `verified #${run.id}` }).click()
  await expect(page1.getByRole('heading', { level: 1 })).toHaveText(`verified #${run.id}`)
  const steps = `over ${run.steps_total.toLocaleString('en')} steps`
  await expect(page1.getByRole('img', { name: /Training loss over steps/ })).toHaveAttribute(
    'aria-label',
    new RegExp(steps),
  )
  for (const [metric, what] of [
    ['Gradient norm', 'gradient norm'],
    ['Learning rate', 'learning rate'],
    ['Tokens/s', 'speed'],
    ['Memory', 'peak memory'],
  ] as const) {
    await page1.getByRole('region', { name: 'Curves' }).getByText(metric, { exact: true }).click()
    await expect(
      page1.getByRole('img', { name: new RegExp(`verified: ${what} \\w+ from .* ${steps}`) }),
    ).toBeVisible()
  }
  await expect(page1.getByRole('region', { name: 'Events' })).toContainText('Began')
  await expect(page1.getByRole('region', { name: 'Certificate' })).toContainText(
    'Agrees with the plain way',
  )
  const checkpoints = page1.getByRole('region', { name: 'Checkpoints', exact: true })
  await expect(checkpoints).toContainText(`${run.steps_total.toLocaleString('en')} steps`)
  await expect(page1.getByText(/^thinkery train --model .*--set train\.steps=/)).toBeVisible()
  await accessible(page1)
  const [file] = await Promise.all([
    page1.waitForEvent('download'),
    page1.getByRole('link', { name: 'Every step as CSV' }).click(),
  ])
  expect(file.suggestedFilename()).toBe(`verified-${run.id}-steps.csv`)
})

test('runs are compared over one chart', async ({ page1 }) => {
  await page1.getByRole('navigation').getByRole('link', { name: 'Train' }).click()
  const boxes = page1.getByRole('region', { name: 'Training runs' }).getByRole('checkbox')
  await boxes.nth(0).check()
  await boxes.nth(1).check()
  await page1.getByRole('link', { name: 'Compare 2 runs' }).click()
  await expect(page1.getByRole('heading', { level: 1 })).toHaveText('Compare runs')
  await expect(
    page1.getByRole('img', { name: /verified #\d+: loss .*; .*verified #\d+: loss / }),
  ).toBeVisible()
  // The arms of a rehearsal differ in nothing but their data.
  await expect(page1.getByText('Only the data differ')).toBeVisible()
  await accessible(page1)
})

/** An answer as the server would stream it, so that a test can choose every byte. */
async function answer(page: Page, deltas: object[]) {
  const chunk = (delta: object, finish_reason: string | null = null) =>
    `data: ${JSON.stringify({ id: 'a', model: 'verified', choices: [{ index: 0, delta, finish_reason }] })}\n\n`
  const body = deltas.map((delta) => chunk(delta)).join('') + chunk({}, 'stop') + 'data: [DONE]\n\n'
  await page.route('**/api/v1/chat', (route) =>
    route.fulfill({ contentType: 'text/event-stream', body }),
  )
}

test('thoughts fold, maths is set, and money stays money', async ({ page1 }) => {
  await answer(page1, [
    { reasoning_content: 'First I think.\n\nThen I ' },
    { reasoning_content: 'think more.' },
    { content: 'It costs $5 and $6, so \\(x = \\frac{1}{2}\\).\n\n\\[\\boxed{11}\\]\n' },
  ])
  await page1.getByRole('navigation').getByRole('link', { name: 'Chat' }).click()
  await page1.getByRole('button', { name: 'New chat' }).click()
  await page1.getByLabel('Message').fill('How much?')
  await page1.getByRole('button', { name: 'Send' }).click()
  const thought = page1.getByRole('button', { name: /Thought for/ })
  await expect(thought).toHaveAttribute('aria-expanded', 'false')
  await expect(page1.getByText('Then I think more.')).toBeHidden()
  await thought.click()
  await expect(page1.getByText('Then I think more.')).toBeVisible()
  await page1.getByRole('button', { name: 'Hide the thought' }).click()
  await expect(page1.getByText('Then I think more.')).toBeHidden()
  await expect(page1.getByText('It costs $5 and $6')).toBeVisible()
  await expect(page1.locator('.katex')).toHaveCount(2)
  const fraction = await page1
    .locator('.katex .mfrac')
    .first()
    .evaluate((node) => node.getBoundingClientRect().height)
  expect(fraction, 'a fraction is two lines high').toBeGreaterThan(12)
  await accessible(page1)
})

test('hostile answers are only text', async ({ page1 }) => {
  await answer(page1, [
    { content: '<script>window.hacked = 1</script><img src=x onerror="window.hacked=1">\n\n' },
    {
      content:
        '[link](javascript:window.hacked=1) ![i](http://evil.example/x.png) <b onclick=x>b</b>\n\n',
    },
    { content: '\\(\\href{javascript:window.hacked=1}{x}\\) <style>*{display:none}</style>' },
  ])
  await page1.getByRole('button', { name: 'Again' }).click()
  await expect(page1.getByText('window.hacked = 1')).toBeVisible()
  expect(
    await page1.evaluate(() => (window as unknown as { hacked?: number }).hacked),
  ).toBeUndefined()
  await expect(
    page1.locator('.markdown').locator('img, script, style, b, a[href^="javascript"]'),
  ).toHaveCount(0)
  await page1.unroute('**/api/v1/chat')
})

test('every page fits a telephone', async ({ page1 }) => {
  await page1.setViewportSize({ width: 390, height: 844 })
  const paths = ['/', '/verify', '/traces/1', '/train', '/runs/1', '/compare/1,2']
  paths.push('/jobs', '/jobs/1', '/models', '/chat')
  for (const path of paths) {
    await page1.goto(path)
    await expect(page1.getByRole('heading', { level: 1 })).toBeVisible()
    await expect(page1.getByRole('status').filter({ hasText: 'Live' })).toBeVisible()
    await noSidewaysScroll(page1)
  }
  await page1.setViewportSize({ width: 1280, height: 800 })
})

test('a server that goes away is noticed, and so is its return', async ({
  page1,
  server,
  guard,
}) => {
  guard.expect(/Failed to load resource|ERR_|net::/)
  await page1.goto('/')
  const pill = page1.getByRole('status').first()
  await expect(pill).toHaveText('Live')
  await server.stop()
  await expect(pill).toHaveText(/Reconnecting|Stale since/)
  await server.start()
  await expect(pill).toHaveText('Live', { timeout: 30_000 })
  for (const name of stages) await expect(stage(page1, name)).toContainText('Done')
})

test('a run is stopped and saved, goes on, and goes back to a checkpoint', async ({ page1 }) => {
  test.setTimeout(REHEARSAL_MS)
  const set = {
    ...QUICK,
    'train.arms': ['verified'],
    'train.steps': 1500,
    'train.save_every': 5,
    'train.keep_checkpoints': 0,
  }
  const started = await page1.request.post('/api/v1/recipes/rehearsal/run', { data: { set } })
  expect(started.status(), await started.text()).toBe(200)
  let id = 0
  await expect
    .poll(
      async () => {
        const { items } = await api(page1, '/runs')
        const run = items.find((run: { steps_total: number }) => run.steps_total === 1500)
        id = run?.id ?? 0
        return run?.steps_done ?? 0
      },
      { timeout: REHEARSAL_MS },
    )
    .toBeGreaterThan(12)
  await page1.goto(`/runs/${id}`)
  await expect(page1.getByText('Time left')).toBeVisible()
  await expect(page1.getByText('stop it before you go back')).toBeVisible()
  await page1.getByRole('button', { name: 'Stop and save' }).click()
  const resume = page1.getByRole('button', { name: 'Resume', exact: true })
  await expect(resume).toBeEnabled()
  const stopped = (await api(page1, `/runs/${id}`)).checkpoints.at(-1).step

  // It goes on after the checkpoint that the stop has written.
  await resume.click()
  const events = page1.getByRole('region', { name: 'Events' })
  await expect(events).toContainText(`Goes on after ${stopped} steps`)
  await page1.getByRole('button', { name: 'Stop and save' }).click()
  await expect(resume).toBeEnabled()

  const checkpoints = page1.getByRole('region', { name: 'Checkpoints', exact: true })
  await checkpoints.getByRole('button', { name: 'Resume from 5', exact: true }).click()
  await expect(checkpoints).toContainText(/Steps 6 to [\d,]+ are made again/)
  await expect(checkpoints).toContainText(/The checkpoints after 10, .* steps are deleted/)
  await accessible(page1)
  await checkpoints.getByRole('button', { name: 'Go back and resume' }).click()
  await expect(events).toContainText('Goes on after 5 steps')
  await expect(events).toContainText('Went back to the checkpoint after 5 steps')
  await page1.getByRole('button', { name: 'Stop and save' }).click()
  await expect(resume).toBeEnabled()
  const { checkpoints: left } = await api(page1, `/runs/${id}`)
  expect(left[0].step).toBe(5)
})

test('logging out in one tab logs out the other', async ({ context1, page1, guard }) => {
  guard.expect(/401/)
  const other = await context1.newPage()
  await other.goto('/jobs')
  await expect(other.getByRole('heading', { level: 1 })).toHaveText('Jobs')
  await page1.getByRole('button', { name: 'Log out' }).click()
  for (const page of [page1, other]) {
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('Log in')
  }
  expect((await page1.request.get('/api/v1/status')).status()).toBe(401)
})
