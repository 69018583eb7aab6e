/* Order of what the search finds: titles before text; labs, which answer error messages, and
   chapters before solutions and the reference */
var Scorer = {
  score: ([page, , , , score]) =>
    score + (/^(2\d|31)_/.test(page) ? 8 : /^(api|solutions)\//.test(page) ? -12 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 25,
  partialTitle: 12,
  term: 5,
  partialTerm: 2,
};
