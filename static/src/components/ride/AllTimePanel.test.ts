// @vitest-environment happy-dom
import { expect, it } from 'vitest'
import { createApp, ref } from 'vue'

import type { PacerOnPage } from '../../composables/usePacer'
import type { RaceOnPage } from '../../composables/useRace'
import AllTimePanel from './AllTimePanel.vue'

/** Returns what the panel says below its rows, of which the racers 1 and 2 are two. */
function noteWith(pacer: { output: number; racerId: number | null } | null, asOfStart = false) {
  const rows = [1, 2].map((racerId) => ({ racerId, rank: racerId, output: 200 - racerId }))
  const race = {
    board: ref({ rank: 2, total: 2, record: false, rows }),
    boardSecond: ref(9),
    asOfStart: ref(asOfStart),
    source: ref(null),
    identity: ref({ racerId: 2 }),
    speed: ref(1),
  } as unknown as RaceOnPage
  const rowAt = () => pacer && { label: 'Bo', ...pacer }
  const page = document.createElement('div')
  const props = { race, pacer: { rowAt } as unknown as PacerOnPage, classId: 1, summary: null }
  const app = createApp(AllTimePanel, props)
  app.mount(page)
  const text = page.querySelector('[data-test=as-of]')?.textContent.trim()
  app.unmount()
  return text
}

it('the note says that a pacer’s own row is older than the board', () => {
  const now = 'As of when you rode this second.'
  expect(noteWith(null)).toBe(now)
  expect(noteWith({ output: 190, racerId: 1 })).toBe(now)
  expect(noteWith({ output: 190, racerId: 3 })).toBe(`${now} The pacer: as of when it was loaded.`)
  expect(noteWith({ output: 190, racerId: null })).toContain('The pacer')
  expect(noteWith({ output: 190, racerId: 3 }, true)).toBe('As of the ride’s start.')
})
