import '@fontsource-variable/archivo/wdth.css'
import './styles/tokens.css'
import './styles/base.css'

import { createApp } from 'vue'

import App from './App.vue'
import { useRetry } from './composables/useLoad'
import { preloadViews, router } from './router'
import { ridesOpen } from './state/service'

const retryAfter = useRetry(sendLeft)

/** Sends the rides that an earlier page left, whichever view is shown. */
async function sendLeft(): Promise<void> {
  try {
    const { startOutbox } = await import('./state/outbox')
    startOutbox()
  } catch (error) {
    // The script could not be loaded.
    retryAfter(error)
  }
}

if (ridesOpen) void sendLeft()
createApp(App).use(router).mount('#app')
void router.isReady().then(preloadViews, () => {})
