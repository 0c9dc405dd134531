// A page that is served asks now and then whether its dumps have grown, and offers to be loaded anew.
(() => {
  const bar = document.getElementById("live");
  const ask = async () => {
    try {
      const answer = await fetch(`${location.pathname}?state`, { cache: "no-store" });
      if (answer.ok && (await answer.text()) !== bar.dataset.state) bar.hidden = false;
    } catch {
      // The server has ended; the page stays.
    }
    if (bar.hidden) setTimeout(ask, 2000);
  };
  bar.querySelector("a").addEventListener("click", (event) => {
    event.preventDefault();
    location.reload();
  });
  setTimeout(ask, 2000);
})();
