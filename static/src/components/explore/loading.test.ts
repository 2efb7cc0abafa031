// @vitest-environment happy-dom
import { expect, it, vi } from 'vitest'
import { createApp, effectScope, ref, type Component } from 'vue'

import { ApiError } from '../../api/request'
import { useBoard } from '../../composables/useBoard'
import { useRaces } from '../../composables/useRaces'
import { FIRST_ADDRESS } from '../../race/explore-address'
import { router } from '../../router'
import BoardPanel from './BoardPanel.vue'
import RacesPanel from './RacesPanel.vue'

const load = vi.hoisted(() => vi.fn())
vi.mock('../../api/client', () => ({ leaderboard: load, racePage: load, sendRide: vi.fn() }))
vi.mock('../../state/service', async (original) => ({
  ...(await original<typeof import('../../state/service')>()),
  classOf: () => ({ stateHash: 'A' }),
}))

const exploreAddress = {
  address: ref({ ...FIRST_ADDRESS, page: 'refused', races: 'refused' }),
  adjust: vi.fn(),
  go: vi.fn(),
}

it.each<[string, Component, () => object]>([
  ['the board', BoardPanel, () => ({ boardPage: useBoard(1, exploreAddress) })],
  ['the races', RacesPanel, () => ({ races: useRaces(1, exploreAddress) })],
])('%s: nothing is loading after a failure', async (name, panel, open) => {
  let fail: (error: ApiError) => void = () => {}
  load.mockReturnValue(new Promise((_, reject) => (fail = reject)))
  const page = document.createElement('div')
  const scope = effectScope()
  const app = createApp(panel, { exploreAddress, ...scope.run(open) }).use(router)
  app.mount(page)
  expect(page.textContent).toContain(`Loading ${name}…`)
  fail(new ApiError('refused', 'invalid cursor'))
  await vi.waitFor(() => expect(page.textContent).toContain('invalid cursor'))
  expect(page.textContent).not.toContain('Loading')
  app.unmount()
  scope.stop()
})
