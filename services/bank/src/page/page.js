"use strict";

// Every word of the page, in Portuguese and in English. A word that is missing is an error, which a test hears.
const WORDS = {
  skip: ["Ir para o pagamento", "Skip to payment"],
  language: ["Idioma", "Language"],
  live: ["Ao vivo", "Live"],
  connecting: ["Conectando…", "Connecting…"],
  reconnecting: ["Reconectando…", "Reconnecting…"],
  accounts: ["Contas", "Accounts"],
  no_accounts: ["Nenhuma conta ainda.", "No accounts yet."],
  account_line: ["Ag. {branch} · Conta {number}", "Branch {branch} · Account {number}"],
  indirect: ["Participantes indiretos", "Indirect participants"],
  indirect_what: [
    "Esta instituição liquida por eles; os clientes são deles.",
    "This bank settles for them; the customers are theirs.",
  ],
  not_settled: ["não liquida mais aqui", "no longer settled here"],
  available: ["Saldo disponível", "Available balance"],
  of: ["de {name}", "of {name}"],
  blocked_money: ["Reservado", "Set aside"],
  provisional: ["A receber", "On its way in"],
  balance: ["Saldo total", "Total balance"],
  pay: ["Pagar com Pix", "Pay with Pix"],
  by_key: ["Por chave", "By key"],
  by_account: ["Por conta", "By account"],
  key: ["Chave Pix", "Pix key"],
  key_hint: [
    "CPF, CNPJ, telefone com +55, e-mail ou chave aleatória",
    "CPF, CNPJ, phone with +55, e-mail or random key",
  ],
  bank: ["Banco (ISPB)", "Bank (ISPB)"],
  branch: ["Agência", "Branch"],
  number: ["Conta", "Account"],
  type: ["Tipo de conta", "Type of account"],
  tax_id: ["CPF ou CNPJ de quem recebe", "Receiver's CPF or CNPJ"],
  amount: ["Valor", "Amount"],
  description: ["Mensagem", "Message"],
  optional: ["(opcional)", "(optional)"],
  go_on: ["Continuar", "Continue"],
  looking_up: ["Consultando a chave…", "Looking the key up…"],
  you_pay: ["Confira antes de pagar", "Check before you pay"],
  to: ["Para", "To"],
  tax_id_short: ["CPF/CNPJ", "CPF/CNPJ"],
  institution: ["Instituição", "Bank"],
  this_bank: ["{name} (esta instituição)", "{name} (this bank)"],
  account: ["Conta", "Account"],
  from: ["De", "From"],
  back: ["Voltar", "Back"],
  confirm: ["Confirmar e pagar", "Confirm and pay"],
  sending: ["Enviando…", "Sending…"],
  another: ["Fazer outro pagamento", "Make another payment"],
  end_pending: ["Pagamento em andamento", "Payment under way"],
  end_pending_what: [
    "O valor de {amount} fica reservado até a outra instituição responder.",
    "{amount} is set aside until the other bank answers.",
  ],
  end_settled: ["Pagamento concluído", "Payment done"],
  end_settled_what: ["{amount} para {name}, em {time}.", "{amount} to {name}, in {time}."],
  end_refused: ["Pagamento recusado", "Payment refused"],
  end_refused_what: ["O valor de {amount} voltou para a sua conta.", "{amount} is back in your account."],
  seconds: ["{n} s", "{n} s"],
  identifier: ["Identificador", "Identifier"],
  code: ["Código", "Code"],
  received: ["Você recebeu {amount} de {name}", "You received {amount} from {name}"],
  history: ["Extrato", "History"],
  no_history: ["Nenhum pagamento ainda.", "No payments yet."],
  sent_way: ["Pix enviado", "Pix sent"],
  received_way: ["Pix recebido", "Pix received"],
  inside: ["na mesma instituição", "inside this bank"],
  by: ["chave {key}", "key {key}"],
  keys: ["Chaves Pix desta conta", "Pix keys of this account"],
  no_keys: ["Nenhuma chave ainda.", "No keys yet."],
  new_key: ["Registrar uma chave", "Register a key"],
  key_type: ["Tipo de chave", "Type of key"],
  drawn: ["o DICT sorteia", "drawn by the DICT"],
  register: ["Registrar", "Register"],
  key_requested: ["Pedido recebido.", "Request taken."],
  remove: ["Remover", "Remove"],
  remove_sure: ["Remover mesmo", "Really remove"],
  removal_requested: ["Remoção pedida.", "Removal requested."],
  copy: ["Copiar", "Copy"],
  copied: ["Chave copiada.", "Key copied."],
  closed_account: [
    "Esta conta está encerrada: não paga nem recebe. Escolha outra conta.",
    "This account is closed: it neither pays nor receives. Choose another account.",
  ],
  blocked_account: [
    "Esta conta está bloqueada: não paga nem recebe até ser desbloqueada.",
    "This account is blocked: it neither pays nor receives until it is opened again.",
  ],
  need_key: ["Informe a chave de quem recebe.", "Enter the receiver's key."],
  need_ispb: ["O ISPB tem 8 caracteres, como 22222222.", "An ISPB has 8 characters, like 22222222."],
  need_branch: ["A agência tem até 4 dígitos.", "A branch has up to 4 digits."],
  need_number: ["Informe a conta, com o dígito.", "Enter the account, with its digit."],
  need_tax_id: ["Um CPF tem 11 dígitos; um CNPJ, 14 caracteres.", "A CPF has 11 digits, a CNPJ 14 characters."],
  need_amount: ["Informe o valor, como 10,50.", "Enter the amount, like 10.50."],
  amount_zero: ["O valor precisa ser maior que zero.", "The amount has to be more than zero."],
  amount_decimals: [
    "Centavos têm duas casas: escreva 10,50. Para milhares, escreva 1500 ou 1.500,00.",
    "Centavos have two places: write 10.50. For thousands, write 1500 or 1,500.00.",
  ],
  amount_negative: ["O valor não pode ser negativo.", "The amount cannot be negative."],
  amount_large: ["Este valor é grande demais.", "This amount is too large."],
  amount_over: ["Saldo insuficiente: há {amount} disponíveis.", "Not enough balance: {amount} are available."],
  offline: [
    "A instituição não responde. Seu pedido pode ter sido aceito: confirme de novo, e ele será pago uma vez só.",
    "The bank does not answer. It may have taken your order: confirm again, and it will be paid once.",
  ],
  unreachable: ["A instituição não responde; tente de novo em instantes.", "The bank does not answer; try again in a moment."],
  CACC: ["Corrente", "Current"], SVGS: ["Poupança", "Savings"], TRAN: ["Pagamento", "Payment"],
  SLRY: ["Salário", "Salary"], OTHR: ["Outra", "Other"],
  EVP: ["Aleatória", "Random"], CPF: ["CPF", "CPF"], CNPJ: ["CNPJ", "CNPJ"], PHONE: ["Telefone", "Phone"], EMAIL: ["E-mail", "E-mail"],
  pending: ["Em andamento", "Under way"], settled: ["Concluído", "Done"], refused: ["Recusado", "Refused"],
  open: ["Ativa", "Open"], blocked: ["Bloqueada", "Blocked"], closed: ["Encerrada", "Closed"],
  requested: ["Em registro", "Being registered"], active: ["Ativa", "Active"], removing: ["Em remoção", "Being removed"],
  lost: ["Perdida no DICT", "Lost at the DICT"],
  "step.looked_up": ["chave consultada", "key looked up"], "step.accepted": ["pedido aceito", "order taken"],
  "step.blocked": ["valor reservado", "amount set aside"], "step.sent": ["enviado ao SPI", "sent to the SPI"],
  "step.received": ["ordem recebida", "order received"], "step.answered": ["respondido", "answered"],
  "step.settled": ["liquidado", "settled"], "step.credited": ["creditado", "credited"], "step.refused": ["recusado", "refused"],
  "step.contradicted": ["aviso contraditório", "contradictory notice"],
  "keystep.requested": ["pedido recebido", "request taken"], "keystep.format_checked": ["formato conferido", "format checked"],
  "keystep.ownership_checked": ["posse conferida", "ownership checked"], "keystep.sent": ["pedido enviado ao DICT", "sent to the DICT"],
  "keystep.uniqueness_checked": ["unicidade confirmada", "uniqueness confirmed"], "keystep.stored": ["gravada no DICT", "stored in the DICT"],
  "keystep.event": ["evento emitido", "event emitted"], "keystep.confirmed": ["registro confirmado", "registration confirmed"],
  "keystep.refused": ["recusada", "refused"], "keystep.removal_requested": ["remoção pedida", "removal requested"],
  "keystep.removal_sent": ["remoção enviada ao DICT", "removal sent to the DICT"], "keystep.removed": ["removida", "removed"],
  "keystep.removal_refused": ["remoção recusada", "removal refused"], "keystep.lost": ["não está mais no DICT", "no longer in the DICT"],
};

const LOCALES = { pt: "pt-BR", en: "en-GB" };
let lang = "pt";

function t(word, values = {}) {
  const both = WORDS[word];
  if (!both) throw new Error(`no words for "${word}"`);
  return both[lang === "pt" ? 0 : 1].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// What the bank says in both languages: the sentence in ours, as a sentence.
function told(said, field) {
  const text = (lang === "pt" && said[`${field}_pt`]) || said[field] || "";
  return text && text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

const $ = (id) => document.getElementById(id);
function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null));
  return node;
}

// "1234.5" of the bank, as people write it here.
function reais(text) {
  const [whole, cents] = text.replace("-", "").split(".");
  const [group, point] = lang === "pt" ? [".", ","] : [",", "."];
  return (text.startsWith("-") ? "−" : "") + "R$ " + whole.replace(/\B(?=(\d{3})+$)/g, group) + point + cents;
}
const moment = (iso) => new Date(iso).toLocaleString(LOCALES[lang], { day: "2-digit", month: "2-digit", hour: "2-digit", minute: "2-digit" });
const instant = (iso) => new Date(iso).toLocaleTimeString(LOCALES[lang], { hour12: false, hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
const centavos = (text) => BigInt(text.replace(".", ""));

// --- asking the bank

class Refusal extends Error {
  constructor(status, said) {
    super(said.detail);
    this.status = status;
    this.said = said;
    this.kind = (said.type || "").split("/").pop();
  }
}

async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  const body = await answer.json();
  if (!answer.ok) throw new Refusal(answer.status, body);
  return body;
}
const post = (path, body, name) => ask(path, {
  method: "POST", headers: { "Content-Type": "application/json", "Idempotency-Key": name }, body: JSON.stringify(body),
});
const newName = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
const why = (error, unreachable = "unreachable") => (error instanceof Refusal ? told(error.said, "detail") : t(unreachable));

// --- what is known

let bank = null, accounts = [], indirect = [], entries = null, keys = [];
let chosen = null;
const idOf = (account) => `${account.branch}/${account.number}`;
const current = () => accounts.find((account) => idOf(account) === chosen);
const from = () => ({ branch: current().branch, number: current().number });

let busy = false, again = false, retry = 0;
async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    do {
      again = false;
      [accounts, indirect] = await Promise.all([ask("/api/accounts"), ask("/api/indirect")]);
      if (!current()) chosen = accounts.length ? idOf(accounts[0]) : null;
      if (chosen) {
        const asked = chosen;
        const { branch, number } = from();
        const [history, held] = await Promise.all([
          ask(`/api/accounts/${asked}/entries`), ask(`/api/keys?branch=${branch}&number=${number}`),
        ]);
        // Another account was chosen meanwhile: what came is not its.
        if (asked !== chosen) { again = true; continue; }
        greet(history);
        [entries, keys] = [history, held];
      }
      show();
    } while (again);
    connected(live);
  } catch (error) {
    // While the news themselves are lost it says so already.
    if (live === "live") {
      $("live").className = "";
      $("live").textContent = why(error);
    }
    // One at a time, however often news ask for a look meanwhile.
    clearTimeout(retry);
    retry = setTimeout(refresh, 2000);
  } finally { busy = false; }
}

// Says what has come in since the last look.
let greeted = null;
function greet(history) {
  const settled = history.filter((entry) => entry.direction === "in" && entry.state === "settled");
  const ids = new Set(settled.map((entry) => entry.end_to_end_id));
  if (greeted?.of === chosen) {
    const fresh = settled.find((entry) => !greeted.ids.has(entry.end_to_end_id));
    if (fresh) toast(t("received", { amount: reais(fresh.amount), name: nameOf(fresh.counterparty) }));
  }
  greeted = { of: chosen, ids };
}

let toasting = 0;
function toast(text) {
  $("toast").textContent = text;
  clearTimeout(toasting);
  toasting = setTimeout(() => { $("toast").textContent = ""; }, 8000);
}

// --- showing it

function show() {
  showAccounts();
  showBalance();
  showHistory();
  showKeys();
  showEnd();
}

function showAccounts() {
  const focused = document.activeElement?.dataset?.account;
  $("accounts").replaceChildren(...accounts.map((account) => {
    const chip = account.state === "open" ? null : make("span", { className: `chip ${account.state}`, textContent: t(account.state) });
    const card = make("button", { className: "account", type: "button" },
      make("span", { className: "line" }, make("strong", { textContent: account.holder }), chip),
      make("span", { className: "soft small", textContent: `${t("account_line", account)} · ${t(account.type)}` }),
      make("span", { className: "much", textContent: reais(account.available) }));
    card.dataset.account = idOf(account);
    card.setAttribute("aria-pressed", String(idOf(account) === chosen));
    card.onclick = () => {
      if (idOf(account) === chosen) return;
      chosen = idOf(account);
      entries = null;
      startOver();
      show();
      refresh();
    };
    return card;
  }));
  if (!accounts.length) $("accounts").replaceChildren(make("p", { className: "empty", textContent: t("no_accounts") }));
  if (focused) document.querySelector(`[data-account="${focused}"]`)?.focus();
  $("indirect").hidden = !indirect.length;
  $("indirect-list").replaceChildren(...indirect.map((one) => make("li", {},
    make("span", {}, one.ispb, one.settled_here ? "" : ` (${t("not_settled")})`), make("b", { textContent: reais(one.available) }))));
}

let shownBalance = null;
function showBalance() {
  const account = current();
  if (!account) return;
  $("holder").textContent = t("of", { name: account.holder });
  const text = reais(account.available);
  if ($("balance").textContent !== text) $("balance").textContent = text;
  const before = shownBalance;
  shownBalance = { of: chosen, available: account.available };
  if (before?.of === chosen && before.available !== account.available) {
    $("balance").classList.remove("moved");
    void $("balance").offsetWidth;
    $("balance").classList.add("moved");
  }
  const parts = [["balance", account.balance], ["blocked_money", account.blocked], ["provisional", account.provisional]];
  $("parts").replaceChildren(...parts.map(([word, amount]) =>
    make("div", {}, make("dt", { textContent: t(word) }), make("dd", { textContent: reais(amount) }))));
  const cannot = { closed: "closed_account", blocked: "blocked_account" }[account.state];
  $("cannot").hidden = !cannot;
  $("cannot").textContent = cannot ? t(cannot) : "";
  $("step-form").hidden = Boolean(cannot) || step !== "form";
}

const nameOf = (party) => party.name || party.tax_id;
const opened = new Set();

function expandable(id, summary, fill) {
  const panel = make("div", { className: "inside", id: `in-${id}`, hidden: !opened.has(id) });
  summary.setAttribute("aria-expanded", String(opened.has(id)));
  summary.setAttribute("aria-controls", panel.id);
  summary.dataset.row = id;
  summary.onclick = () => {
    opened.has(id) ? opened.delete(id) : opened.add(id);
    summary.setAttribute("aria-expanded", String(opened.has(id)));
    panel.hidden = !opened.has(id);
    if (!panel.hidden) fill(panel);
  };
  if (!panel.hidden) fill(panel);
  return panel;
}

// Rows are made anew; the focus stays where it was.
function replaceRows(list, rows, empty) {
  const focused = document.activeElement?.dataset?.row;
  list.replaceChildren(...(rows.length ? rows : [make("li", { className: "empty", textContent: t(empty) })]));
  if (focused) list.querySelector(`[data-row="${focused}"]`)?.focus();
}

function timeline(steps, words) {
  // A newer bank may know more stages than a page that was open before.
  const named = (stage) => (WORDS[`${words}.${stage}`] ? t(`${words}.${stage}`) : stage);
  return make("ol", {}, ...steps.map((one) => make("li", {}, make("time", { textContent: instant(one.at) }), named(one.stage))));
}

function showHistory() {
  if (!entries) { $("history").replaceChildren(); return; }
  replaceRows($("history"), entries.map((entry) => {
    const incoming = entry.direction === "in";
    const no = entry.state === "refused" ? " no" : "";
    const notes = [incoming ? t("received_way") : t("sent_way"), entry.book_transfer ? t("inside") : null, moment(entry.at)];
    const row = make("button", { className: "entry", type: "button" },
      make("span", { className: `way ${incoming ? "in" : ""}${no}`, textContent: no ? "✕" : incoming ? "↓" : "↑" }),
      make("span", { className: "who" }, make("b", { textContent: nameOf(entry.counterparty) }),
        make("span", { textContent: notes.filter(Boolean).join(" · ") }),
        entry.description ? make("span", { textContent: `“${entry.description}”` }) : null),
      make("span", { className: "end-of" },
        make("span", { className: `sumof ${incoming ? "in" : ""}${no}`, textContent: (incoming ? "+ " : "− ") + reais(entry.amount) }),
        make("span", { className: `chip ${entry.state}`, textContent: t(entry.state) })));
    row.querySelector(".way").setAttribute("aria-hidden", "true");
    const panel = expandable(entry.end_to_end_id, row, (panel) => details(panel, entry));
    const reason = entry.reason ? make("p", { className: "why" },
      make("b", { textContent: told(entry, "reason_text") }), ` ${incoming ? "" : told(entry, "advice")} `,
      make("code", { textContent: entry.reason })) : null;
    return make("li", {}, row, reason, panel);
  }), "no_history");
}

async function details(panel, entry) {
  const party = entry.counterparty;
  const where = `${t("institution")} ${party.ispb} · ${t("account_line", { branch: party.branch || "—", number: party.number })}`;
  const lines = [make("p", { textContent: where }), entry.key ? make("p", { textContent: t("by", entry) }) : null,
    make("code", { textContent: entry.end_to_end_id })];
  panel.replaceChildren(...lines.filter(Boolean));
  try {
    const payment = await ask(`/api/payments/${entry.end_to_end_id}`);
    panel.append(timeline(payment.timeline, "step"));
  } catch (error) { panel.append(make("p", { className: "error", textContent: why(error) })); }
}

function showKeys() {
  if (!entries) { $("keys").replaceChildren(); return; }
  const held = keys.filter((entry) => entry.state !== "removed");
  replaceRows($("keys"), held.map((entry) => {
    const row = make("button", { className: "entry", type: "button" },
      make("span", { className: "way", textContent: { EVP: "✳", PHONE: "☏", EMAIL: "@" }[entry.type] || "№" }),
      make("span", { className: "who" }, make("b", { textContent: entry.key || "…" }), make("span", { textContent: t(entry.type) })),
      make("span", { className: `chip ${entry.state}`, textContent: t(entry.state) }));
    row.querySelector(".way").setAttribute("aria-hidden", "true");
    const panel = expandable(entry.id, row, (panel) => {
      panel.replaceChildren(timeline(entry.steps, "keystep"), ...(entry.state === "active" ? [keyButtons(entry)] : []));
    });
    const reason = entry.reason ? make("p", { className: "why" }, make("b", { textContent: told(entry, "reason_text") })) : null;
    return make("li", {}, row, reason, panel);
  }), "no_keys");
}

function keyButtons(entry) {
  const copy = make("button", { className: "quiet", type: "button", textContent: t("copy") });
  copy.onclick = async () => {
    await navigator.clipboard.writeText(entry.key);
    toast(t("copied"));
  };
  const remove = make("button", { className: "quiet", type: "button", textContent: t("remove") });
  remove.onclick = async () => {
    if (!remove.dataset.sure) {
      remove.dataset.sure = "asked";
      remove.textContent = t("remove_sure");
      return;
    }
    try {
      await ask("/api/keys/" + encodeURIComponent(entry.key), { method: "DELETE" });
      toast(t("removal_requested"));
      refresh();
    } catch (error) { toast(why(error)); }
  };
  return make("div", { className: "buttons" }, copy, remove);
}

// --- what people type

// Phones and documents as people write them, in the form that the DICT knows.
function tidy(text) {
  const key = text.trim();
  if (key.includes("@")) return key.toLowerCase();
  if (key.startsWith("+")) return "+" + key.replace(/\D/g, "");
  return key.length === 36 ? key.toLowerCase() : key.replace(/[.\-\/\s]/g, "").toUpperCase();
}

// The amount in the bank's form, or the word for what is wrong with it. Both "1.500,00" and "1,500.00" are read; what
// could be either a thousand or three decimals is asked about, not guessed.
function amountOf(text) {
  const written = text.trim().replace(/^R\$\s*/, "").replace(/\s/g, "");
  if (/^[-−]/.test(written)) return { wrong: "amount_negative" };
  if (!/^\d[\d.,]*$/.test(written)) return { wrong: "need_amount" };
  const [, whole, cents] = /^(.*?)(?:[.,](\d{1,2}))?$/.exec(written);
  const thousands = /^\d{1,3}(?:(?:\.\d{3})+|(?:,\d{3})+)$/;
  if (!/^\d+$/.test(whole) && !(cents && thousands.test(whole))) {
    return { wrong: /[.,]\d{3,}$/.test(written) ? "amount_decimals" : "need_amount" };
  }
  const digits = whole.replace(/[.,]/g, "").replace(/^0+(?=\d)/, "");
  const amount = `${digits}.${(cents || "").padEnd(2, "0")}`;
  if (digits.length > 16) return { wrong: "amount_large" };
  if (centavos(amount) === 0n) return { wrong: "amount_zero" };
  return { amount };
}

// Lines that say something for a while, by their id: written again when the language changes.
const lines = new Map();
function say(id, sentence) {
  sentence ? lines.set(id, sentence) : lines.delete(id);
  $(id).textContent = sentence ? sentence() : "";
}

// Marks a field with what is wrong with it, or clears it.
function mark(input, sentence) {
  say(`${input.id}-error`, sentence);
  sentence ? input.setAttribute("aria-invalid", "true") : input.removeAttribute("aria-invalid");
}

// --- paying: the form, the confirmation, the end

let mode = "key", step = "form", order = null, orderName = null, ended = null, attempt = 0;
const form = $("form").elements;

function to(next) {
  step = next;
  for (const name of ["form", "confirm", "end"]) $(`step-${name}`).hidden = name !== next;
}

function startOver() {
  attempt += 1;
  [order, orderName, ended] = [null, null, null];
  $("form").reset();
  clearMarks();
  to("form");
}

function clearMarks() {
  for (const input of $("form").querySelectorAll("input")) if ($(`${input.id}-error`)) mark(input);
  say("form-problem");
}

function choose(next) {
  mode = next;
  for (const name of ["key", "account"]) {
    const tab = $(`tab-${name}`);
    tab.setAttribute("aria-selected", String(name === next));
    tab.tabIndex = name === next ? 0 : -1;
    for (const part of document.querySelectorAll(`[data-mode=${name}]`)) part.hidden = name !== next;
  }
  $("form").setAttribute("aria-labelledby", `tab-${next}`);
  clearMarks();
}
for (const [name, other] of [["key", "account"], ["account", "key"]]) {
  $(`tab-${name}`).onclick = () => choose(name);
  $(`tab-${name}`).onkeydown = (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    choose(other);
    $(`tab-${other}`).focus();
  };
}

// Reads the form; nothing when something is wrong, which is then marked, and the first of it has the focus.
function read() {
  clearMarks();
  const wrong = [];
  const check = (input, holds, word, values = () => ({})) => {
    if (holds) return;
    mark(input, () => t(word, values()));
    wrong.push(input);
  };
  const plain = (input) => input.value.replace(/[.\-\/\s]/g, "").toUpperCase();
  let payee;
  if (mode === "key") {
    payee = { key: tidy(form.key.value) };
    check(form.key, payee.key, "need_key");
  } else {
    payee = {
      ispb: plain(form.ispb), branch: plain(form.branch), number: plain(form.number), type: form.type.value, tax_id: plain(form.tax_id),
    };
    check(form.ispb, /^[0-9A-Z]{8}$/.test(payee.ispb), "need_ispb");
    check(form.branch, /^\d{0,4}$/.test(payee.branch), "need_branch");
    check(form.number, /^[0-9A-Z]{1,20}$/.test(payee.number), "need_number");
    check(form.tax_id, /^(\d{11}|[0-9A-Z]{12}\d{2})$/.test(payee.tax_id), "need_tax_id");
  }
  const { amount, wrong: word } = amountOf(form.amount.value);
  if (word) check(form.amount, false, word);
  else check(form.amount, centavos(amount) <= centavos(current().available), "amount_over", () => ({ amount: reais(current().available) }));
  if (wrong.length) { wrong[0].focus(); return null; }
  const description = form.description.value.trim();
  return { from: from(), to: payee, amount, ...(description && { description }) };
}

$("form").onsubmit = async (event) => {
  event.preventDefault();
  const typed = current() && read();
  if (!typed) return;
  const mine = ++attempt;
  $("go").disabled = true;
  try {
    let found = null;
    if (mode === "key") {
      $("go").textContent = t("looking_up");
      const { branch, number } = typed.from;
      found = await post(`/api/keys/${encodeURIComponent(typed.to.key)}/lookup?branch=${branch}&number=${number}`, {}, newName());
      // Another account was chosen meanwhile: nobody asks for this any more.
      if (mine !== attempt) return;
      typed.to = { key: found.key };
      typed.end_to_end_id = found.end_to_end_id;
    }
    order = { typed, found };
    // The same order sent again after a failure keeps its name: it is paid once.
    orderName = newName();
    say("confirm-problem");
    showConfirm();
    to("confirm");
    $("confirm-title").focus();
  } catch (error) {
    if (mine !== attempt) return;
    if (mode === "key" && error instanceof Refusal && [400, 404].includes(error.status)) {
      mark(form.key, () => why(error));
      form.key.focus();
    } else { say("form-problem", () => why(error)); }
  } finally {
    $("go").disabled = false;
    $("go").textContent = t("go_on");
  }
};
$("form").oninput = (event) => { if (event.target.id && $(`${event.target.id}-error`)) mark(event.target); };

function facts(list, rows) {
  list.replaceChildren(...rows.filter(([, text]) => text).map(([word, text, kind]) =>
    make("div", { className: kind || "" }, make("dt", { textContent: t(word) }), make("dd", {}, kind === "code" ? make("code", { textContent: text }) : text))));
}

function payeeOf({ typed, found }) {
  return found ? found.name || found.tax_id : `${t("account_line", { branch: typed.to.branch || "—", number: typed.to.number })}`;
}

function institutionOf({ typed, found }) {
  const ispb = found ? found.ispb : typed.to.ispb;
  return ispb === bank.ispb ? t("this_bank", { name: bank.name }) : `ISPB ${ispb}`;
}

function showConfirm() {
  if (!order) return;
  const { typed, found } = order;
  const payer = current();
  $("confirm-amount").textContent = reais(typed.amount);
  facts($("confirm-facts"), [
    ["to", payeeOf(order), "who"],
    ["tax_id_short", found ? found.tax_id : typed.to.tax_id],
    ["institution", institutionOf(order)],
    ["type", found ? "" : t(typed.to.type)],
    ["key", found?.key],
    ["description", typed.description],
    ["from", `${payer.holder} · ${t("account_line", payer)}`],
  ]);
}

$("back").onclick = () => {
  to("form");
  (mode === "key" ? form.key : form.ispb).focus();
};

$("confirm").onclick = async () => {
  const mine = attempt;
  $("confirm").disabled = true;
  $("confirm").textContent = t("sending");
  try {
    const taken = await post("/api/payments", order.typed, orderName);
    if (mine !== attempt) return;
    ended = { id: taken.end_to_end_id, order, payment: null };
    to("end");
    await hear(ended);
    $("end").focus();
    refresh();
  } catch (error) {
    if (mine !== attempt) return;
    say("confirm-problem", () => why(error, "offline"));
  } finally {
    $("confirm").disabled = false;
    $("confirm").textContent = t("confirm");
  }
};

// How the payment stands, as the bank knows it.
async function hear(payment) {
  try { payment.payment = await ask(`/api/payments/${payment.id}`); } catch (error) { if (error instanceof Refusal) throw error; }
  showEnd();
}

function showEnd() {
  if (!ended) return;
  const state = ended.payment?.state || "pending";
  const steps = ended.payment?.timeline || [];
  const took = steps.length > 1 ? (new Date(steps.at(-1).at) - new Date(steps.find((one) => one.stage === "accepted")?.at || steps[0].at)) / 1000 : 0;
  const [amount, name] = [reais(ended.order.typed.amount), payeeOf(ended.order)];
  const time = t("seconds", { n: took.toLocaleString(LOCALES[lang], { maximumFractionDigits: 2 }) });
  $("end").className = `end ${state}`;
  $("end-sign").className = `sign ${state === "pending" ? "spin" : ""}`;
  $("end-title").textContent = t(`end_${state}`);
  $("end-what").textContent = t(`end_${state}_what`, { amount, name, time });
  $("end-why").textContent = state === "refused" ? told(ended.payment, "reason_text") : "";
  $("end-advice").textContent = state === "refused" ? told(ended.payment, "advice") : "";
  facts($("end-facts"), [["to", name], ["institution", institutionOf(ended.order)], ["amount", amount], ["code", ended.payment?.reason], ["identifier", ended.id, "code"]]);
}

$("another").onclick = () => {
  startOver();
  (mode === "key" ? form.key : form.ispb).focus();
};

// --- registering keys

let wishName = null;
const wish = $("newkey").elements;
function showWish() {
  wish.key.disabled = wish.type.value === "EVP";
  wish.key.placeholder = wish.key.disabled ? t("drawn") : "";
}
$("newkey").oninput = () => { wishName = null; mark(wish.key); showWish(); };
$("newkey").onsubmit = async (event) => {
  event.preventDefault();
  if (!current()) return;
  const drawn = wish.type.value === "EVP";
  if (!drawn && !wish.key.value.trim()) { mark(wish.key, () => t("need_key")); wish.key.focus(); return; }
  wishName = wishName || newName();
  $("addkey").disabled = true;
  const said = (sentence, kind) => { say("newsaid", sentence); $("newsaid").className = `said ${kind}`; };
  try {
    const taken = await post("/api/keys", { account: from(), type: wish.type.value, key: drawn ? null : tidy(wish.key.value) }, wishName);
    wishName = null;
    opened.add(taken.id);
    wish.key.value = "";
    said(() => t("key_requested"), "good");
    refresh();
  } catch (error) { said(() => why(error), "bad"); } finally { $("addkey").disabled = false; }
};

// --- languages

function speak(next, remember) {
  lang = next === "en" ? "en" : "pt";
  if (remember) {
    try { localStorage.setItem("lang", lang); } catch { /* a browser that keeps nothing */ }
  }
  document.documentElement.lang = LOCALES[lang];
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
  for (const button of document.querySelectorAll("[data-lang]")) button.setAttribute("aria-pressed", String(button.dataset.lang === lang));
  form.amount.placeholder = lang === "pt" ? "0,00" : "0.00";
  for (const [id, sentence] of lines) $(id).textContent = sentence();
  $("live").textContent = t(live);
  showWish();
  if (!bank) return;
  show();
  showConfirm();
}
for (const button of document.querySelectorAll("[data-lang]")) button.onclick = () => speak(button.dataset.lang, true);

function remembered() {
  const asked = new URLSearchParams(location.search).get("lang");
  if (asked) return asked;
  try { return localStorage.getItem("lang"); } catch { return null; }
}

// --- the beginning

let live = "connecting";
function connected(word) {
  live = word;
  $("live").className = word === "live" ? "on" : "";
  $("live").textContent = t(word);
}

async function start() {
  choose("key");
  speak(remembered(), false);
  bank = await ask("/api/bank");
  document.title = bank.name;
  $("name").textContent = bank.name;
  $("mark").textContent = bank.name.split(" ").filter((word) => word !== "Banco").map((word) => word[0]).join("").slice(0, 2) || "B";
  $("ispb").textContent = `ISPB ${bank.ispb}`;
  paint(bank.color);
  listen();
}

// The bank's colour, with the ink that can be read on it (relative luminance, WCAG 2).
function paint(color) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  const root = document.documentElement.style;
  root.setProperty("--bank", color);
  root.setProperty("--on-bank", light > 0.18 ? "#16202b" : "#fff");
}

function listen() {
  const events = new EventSource("/api/events");
  events.onopen = () => {
    connected("live");
    // What happened meanwhile was told to nobody.
    if (ended) hear(ended).catch(() => {});
    refresh();
  };
  events.onerror = () => {
    connected("reconnecting");
    // A browser tries again by itself, unless what it got was an answer.
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
  events.addEventListener("payment", (event) => {
    if (ended && JSON.parse(event.data).end_to_end_id === ended.id) hear(ended).catch(() => {});
    refresh();
  });
  events.addEventListener("key", refresh);
  events.addEventListener("refresh", () => {
    if (ended) hear(ended).catch(() => {});
    refresh();
  });
}
start().catch((error) => { $("live").textContent = why(error); });
