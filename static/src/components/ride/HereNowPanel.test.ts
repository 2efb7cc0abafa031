// @vitest-environment happy-dom
import { expect, it, vi } from 'vitest'
import { createApp, effectScope } from 'vue'

import { useRace } from '../../composables/useRace'
import HereNowPanel from './HereNowPanel.vue'

vi.mock('../../api/client', () => ({ sendRide: vi.fn() }))
vi.mock('../../composables/useHereNow', async () => {
  const { ref } = await import('vue')
  return { useHereNow: () => ({ race: ref(null), standings: ref([]), state: ref('loaded') }) }
})
vi.mock('../../state/service', async (original) => ({
  ...(await original<typeof import('../../state/service')>()),
  ridesOpen: true,
}))

it.each([
  [false, true],
  [true, false],
])('with a result shown: %s, it says that the ride counts: %s', (hasResult, says) => {
  const page = document.createElement('div')
  const scope = effectScope()
  const race = scope.run(() => useRace(() => 1, vi.fn()))
  const app = createApp(HereNowPanel, { race, classId: 1, hasResult })
  app.mount(page)
  expect(page.textContent.includes('Your ride will be sent to the service, and will count.')).toBe(
    says,
  )
  app.unmount()
  scope.stop()
})
