import '@fontsource-variable/archivo/wdth.css'
import './styles/tokens.css'
import './styles/base.css'

import { createApp } from 'vue'

import App from './App.vue'
import { preloadViews, router } from './router'
import { ridesOpen } from './state/service'

/** Sends the rides that an earlier page left, whichever view is shown. */
function sendLeft(): void {
  import('./state/outbox').then(
    ({ startOutbox }) => startOutbox(),
    // The script could not be loaded.
    () => addEventListener('online', sendLeft, { once: true }),
  )
}

if (ridesOpen) sendLeft()
createApp(App).use(router).mount('#app')
void router.isReady().then(preloadViews, () => {})
