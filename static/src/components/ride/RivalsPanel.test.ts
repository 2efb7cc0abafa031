// @vitest-environment happy-dom
import { expect, it, vi } from 'vitest'
import { createApp, ref } from 'vue'

import type { RaceOnPage } from '../../composables/useRace'
import { rider } from '../../state/rider'
import RivalsPanel from './RivalsPanel.vue'

vi.mock('../../composables/useRivals', () => ({
  useRivals: () => ({
    ids: ref([1, 2]),
    loadedIds: ref([1, 2]),
    rows: ref([{ racerId: 1, output: 120, rank: 5, groupRank: 1 }]),
    second: ref(9),
    asOfStart: ref(true),
    state: ref('loaded'),
  }),
}))

it('says of when its rows are, and how many rivals have none', () => {
  const page = document.createElement('div')
  const race = { speed: ref(1), identity: ref(rider.value) } as unknown as RaceOnPage
  const app = createApp(RivalsPanel, { race, classId: 1 })
  app.mount(page)
  const note = page.querySelector('.note')?.textContent.trim().replace(/\s+/g, ' ')
  app.unmount()
  expect(note).toBe('As of the ride’s start. 1 of 2 has no best at this second.')
})
