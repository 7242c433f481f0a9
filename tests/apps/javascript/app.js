addEventListener("fetch", (event) =>
  event.respondWith(
    (async () => {
      const body = await event.request.text();
      return new Response(`Hello from JavaScript, ${event.request.method} ${new URL(event.request.url).pathname} ${body}\n`, {
        headers: { "content-type": "text/plain" },
      });
    })(),
  ),
);
