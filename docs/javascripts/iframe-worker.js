/* Search in a folder that is opened without a server: browsers start no workers there, so the script of the
   search runs in a hidden frame instead, with the few things of a worker that it uses. */
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inner = frame.contentWindow
      const load = source => new Promise((done, failed) => {
        const script = inner.document.createElement("script")
        Object.assign(script, { src: source, onload: done, onerror: failed })
        inner.document.head.append(script)
      })
      inner.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      inner.importScripts = (...sources) => sources.reduce((before, source) => before.then(() => load(source)), Promise.resolve())
      this.frame = frame
      this.ready = load(new URL(url, document.baseURI).href)
    }
    postMessage(data) {
      this.ready.then(() => {
        const inner = this.frame.contentWindow
        inner.dispatchEvent(new inner.MessageEvent("message", { data }))
      })
    }
    terminate() {
      this.frame.remove()
    }
  }
  window.Worker = window.IFrameWorker
}
