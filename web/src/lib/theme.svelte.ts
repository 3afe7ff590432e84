/** Light, dark, or what the system says; kept in this browser. */

export type Theme = 'system' | 'light' | 'dark'

const KEY = 'thinkery.theme'

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY)
    return value === 'light' || value === 'dark' ? value : 'system'
  } catch {
    return 'system'
  }
}

class ThemeChoice {
  value = $state<Theme>(stored())
  /** Counts up whenever colours change, for what is painted by hand. */
  version = $state(0)

  constructor() {
    this.#apply()
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.version++)
  }

  set(value: Theme) {
    this.value = value
    try {
      localStorage.setItem(KEY, value)
    } catch {
      // A browser that keeps nothing still shows the choice until the page is left.
    }
    this.#apply()
  }

  #apply() {
    const root = document.documentElement
    if (this.value === 'system') delete root.dataset.theme
    else root.dataset.theme = this.value
    this.version++
  }
}

export const theme = new ThemeChoice()
