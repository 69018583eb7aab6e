// Filters and searches the answers; without it all of them are shown
(() => {
  const form = document.getElementById('filter');
  if (!form) return;
  const plain = s => s.normalize('NFKC').toLowerCase();
  const cards = [...document.querySelectorAll('.qa')].map(card => ({
    card,
    text: plain(card.textContent),
    answers: [...card.querySelectorAll('[data-verdict]')].map(a => a.dataset),
  }));
  const groups = [...document.querySelectorAll('.group')];
  const count = document.getElementById('count');
  const show = () => {
    const { set, how, verdict, words } = form.elements;
    const wanted = plain(words.value).split(/\s+/).filter(Boolean);
    let n = 0;
    for (const { card, text, answers } of cards) {
      const some = answers.some(a =>
        (!how.value || a.model === how.value) && (!verdict.value || a.verdict === verdict.value));
      const fits = (!set.value || card.dataset.set === set.value)
        && (some || !how.value && !verdict.value) && wanted.every(w => text.includes(w));
      card.hidden = !fits;
      n += fits;
    }
    for (const g of groups) g.hidden = !g.querySelector('.qa:not([hidden])');
    count.textContent = `${n} of ${cards.length} questions shown`;
  };
  form.hidden = false;
  form.addEventListener('submit', e => e.preventDefault());
  form.addEventListener('input', show);
  show();
})();
