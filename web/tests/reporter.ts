/** One line per test, the errors of those that failed, and a plain count at the end. */

import type { FullResult, Reporter, TestCase, TestResult } from '@playwright/test/reporter'

export default class Plain implements Reporter {
  #passed = 0
  #failed = 0
  #skipped = 0

  onTestEnd(test: TestCase, result: TestResult) {
    const words = {
      passed: 'ok  ',
      failed: 'FAIL',
      timedOut: 'FAIL',
      skipped: 'skip',
      interrupted: 'FAIL',
    }
    console.log(`${words[result.status]} ${test.title} (${(result.duration / 1000).toFixed(1)} s)`)
    if (result.status === 'passed') this.#passed += 1
    else if (result.status === 'skipped') this.#skipped += 1
    else this.#failed += 1
    for (const error of result.errors)
      console.log((error.stack ?? error.message ?? '').replace(/^/gm, '     '))
    for (const file of result.attachments)
      if (file.path) console.log(`     ${file.name}: ${file.path}`)
  }

  onError(error: { message?: string | undefined }) {
    console.log(error.message ?? 'something went wrong outside the tests')
  }

  onEnd(result: FullResult) {
    if (this.#skipped) console.log(`${this.#skipped} skipped after a failure`)
    if (result.status !== 'passed' && this.#failed === 0) this.#failed = 1
    console.log(`${this.#passed} passed, ${this.#failed} failed`)
  }

  printsToStdio() {
    return true
  }
}
