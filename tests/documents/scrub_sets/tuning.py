# ruff: noqa: E501 (rows of templates read better as rows)
"""The tuning set: looked at while the patterns were written, and kept as their regression test."""

from __future__ import annotations

from functools import lru_cache
from random import Random

from stdnum.iso7064 import mod_97_10
from stdnum.luhn import calc_check_digit

from appliance.documents.scrubbing.identities import _LABELLED_CHECKS
from tests.documents.scrub_sets.cases import Case, Maker, draw, make_cases, make_decoys

PER_CLASS = 150
PER_DECOY = 30


def make_tuning(seed: int = 3) -> list[Case]:
    """All cases: 150 values of each class, 30 look-alikes of each kind."""
    rng = Random(seed)
    cases: list[Case] = []
    for kind, maker, contexts in _VALUES:
        cases += make_cases(kind, (maker,), contexts, PER_CLASS, rng)
    for kind, maker, contexts in _DECOYS:
        cases += make_decoys(kind, (maker,), contexts, PER_DECOY, rng)
    return cases


def _pick(*patterns: str) -> Maker:
    return lambda rng: draw(rng, rng.choice(patterns))


_EMAIL = _pick(
    "¤¤¤¤.¤¤¤¤¤¤@¤¤¤¤¤¤.com", "¤¤¤_¤¤¤@¤¤¤¤.¤¤¤¤.org", "^¤¤¤¤@¤¤¤-¤¤¤.de", "¤.¤¤¤¤+¤¤¤@¤¤¤.io",
    "¤¤¤¤##@¤¤¤¤¤.co.uk", "info@¤¤¤¤¤¤.example", "¤¤¤-¤¤¤@xn--¤¤¤-¤¤¤.de", "¤'¤¤¤¤¤@¤¤¤¤.ie",
)  # fmt: skip
_PHONE = _pick(
    "+49 211 44#####", "+49-30-90####", "(0228) 55 66 ##", "0228/5566##", "040 3344 ###", "0151 2345####",
    "+1 212 555 01##", "(212) 555-01##", "212-555-01##", "1.212.555.01##", "+44 1632 960###",
    "01632 960###", "+33 (0)1 23 45 67 ##", "02 33 44 55 ##", "+43 1 587 ## ##", "+45 33 12 34 ##",
    "0041 31 320 ## ##", "+351 21 123 ####", "+55 11 91234-####", "06-1234 ####", "+65 6123 ####",
)  # fmt: skip


def _iban(rng: Random) -> str:
    country, shape = rng.choice(
        (("DE", "#" * 18), ("FR", "#" * 23), ("NL", "INGB" + "#" * 10), ("AT", "#" * 16), ("BE", "#" * 12),
         ("LU", "#" * 13 + "ABC"), ("GB", "MIDL" + "#" * 14), ("CH", "#" * 17), ("PT", "#" * 21), ("MT", "MALT" + "#" * 5 + "ABC" + "#" * 15))
    )  # fmt: skip
    account = draw(rng, shape)
    whole = country + mod_97_10.calc_check_digits(account + country) + account
    if rng.random() < 0.4:
        return whole
    return " ".join(whole[start : start + 4] for start in range(0, len(whole), 4))


def _card(rng: Random) -> str:
    body = draw(
        rng, rng.choice(("4##############", "5412###########", "34############", "6500###########"))
    )
    whole = body + calc_check_digit(body)
    if len(whole) == 15:
        return rng.choice((whole, f"{whole[:4]} {whole[4:10]} {whole[10:]}"))
    return rng.choice((" ", "", "-")).join(whole[start : start + 4] for start in range(0, 16, 4))


_ID_SAMPLES = (
    "536-22-8145", "219-45-3312", "QQ123456C".replace("QQ", "AB"), "HJ 73 41 22 D", "86095742719",
    "86 095 742 719", "54362315K", "X2482300W", "253072C07300443".replace("C", "6"), "RCCMNL83S18D969H",
    "101222331".replace("101222331", "111222333"), "85.07.30-033.61", "85073003328", "756.9217.0769.85",
    "811228-9874", "131052-308T", "211062-5629", "123-456-782".replace("-", " "), "390.533.447-05",
    "39053344705", "44051401359", "234123412346", "2341 2341 2346", "ACUPA7085R", "BOXW310820HNERXN09",
    "360426199101010071", "971013-9019", "7501020018", "1630615123457", "15507964744", "12.531.909-2",
    "4772 130 1".replace(" ", ""), "710319/2745", "7801010012083".replace("0012", "5009"),
)  # fmt: skip


def _identity(rng: Random) -> str:
    return rng.choice(_list_known_identities())


@lru_cache
def _list_known_identities() -> list[str]:
    """Those whose check digits are right; a few were typed wrong here and fall out."""
    forms = ((sample, "".join(filter(str.isalnum, sample))) for sample in _ID_SAMPLES)
    return [
        form[0]
        for form in forms
        if any(module.is_valid(each) for module in _LABELLED_CHECKS for each in form)
    ]


def _ip(rng: Random) -> str:
    octets = ".".join(str(rng.randint(1, 254)) for _ in range(3))
    return rng.choice(
        (f"10.{octets}", f"192.168.{rng.randint(0, 9)}.{rng.randint(1, 254)}", f"{rng.randint(100, 223)}.{octets}",
         draw(rng, "2001:db8:~~~~::~~~~"), draw(rng, "fd12:3456:789a:1::~"), f"::ffff:10.{octets}")
    )  # fmt: skip


_KEY = _pick(
    "AKIA" + "^" * 12 + "####", "ghs_" + "*" * 36, "glrt-" + "*" * 20, "xoxa-2-" + "*" * 30, "sk_test_" + "*" * 24,
    "sk-" + "*" * 48, "sk-or-v1-" + "~" * 64, "AIza" + "*" * 35, "hf_" + "*" * 34, "SG." + "*" * 22 + "." + "*" * 43,
    "doo_v1_" + "~" * 64, "shpss_" + "~" * 32, "nvapi-" + "*" * 64, "glc_" + "*" * 60, "hvb." + "*" * 40,
    "dp.pt." + "*" * 43, "pul-" + "~" * 40, "sbp_" + "~" * 40, "whsec_" + "*" * 32, "xkeysib-" + "~" * 64 + "-" + "*" * 16,
    "#########:AA" + "*" * 33, "SK" + "~" * 32, "phx_" + "*" * 43, "EAACEdEose0cBA" + "*" * 100, "sqp_" + "~" * 40,
    "LTAI" + "*" * 20, "ATBB" + "*" * 32, "pcsk_" + "*" * 60, "lsv2_pt_" + "~" * 32 + "_" + "~" * 10, "rzp_live_" + "*" * 14,
    "https://discord.com/api/webhooks/##################/" + "*" * 68, "AGE-SECRET-KEY-1" + "^" * 58,
    "pat-eu1-~~~~~~~~-~~~~-~~~~-~~~~-~~~~~~~~~~~~", "secret_" + "*" * 43, "squ_" + "~" * 40, "tvly-" + "*" * 32,
)  # fmt: skip
_JWT = _pick(
    "eyJ" + "*" * 33 + ".eyJ" + "*" * 80 + "." + "*" * 43,
    "eyJ" + "*" * 20 + ".eyJ" + "*" * 60 + "." + "*" * 86,
)


def _private_key(rng: Random) -> str:
    kind = rng.choice(("RSA ", "", "EC ", "OPENSSH "))
    body = "\n".join(draw(rng, "*" * 64) for _ in range(5))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


_DSN = _pick(
    "postgres://¤¤¤¤:^¤¤¤##¤¤@db.¤¤¤.local/main", "mysql+pymysql://root:¤¤¤¤¤###@127.0.0.1:3306/app",
    "mongodb://¤¤¤:¤¤##¤¤!@mongo1:27017,mongo2:27017/x?replicaSet=a", "redis://default:*****************@r:6380",
    "Server=sql2;Database=erp;Uid=erp;Pwd=¤¤¤¤##!;", "Data Source=.;Initial Catalog=HR;User Id=sa;Password=^¤¤¤¤¤##",
    "AccountName=backup;AccountKey=" + "*" * 86 + "==", "HostName=hub.azure-devices.net;SharedAccessKeyName=x;SharedAccessKey=" + "*" * 43 + "=",
    "jdbc:mysql://h:3306/db?user=root&password=¤¤¤¤##", "jdbc:sqlserver://h:1433;databaseName=x;user=sa;password=¤¤¤##^;",
    "https://¤¤¤:¤¤##¤¤¤¤##@nexus.¤¤¤.example/repository", "smb://¤¤¤:¤¤¤¤¤¤¤##@nas/share",
)  # fmt: skip
_PASSWORD = _pick(
    "^¤¤¤¤¤##", "¤¤¤¤¤¤¤##!", "##¤¤¤¤##", "^¤¤¤-^¤¤¤-##", "¤¤¤$¤¤¤#", "^¤¤¤¤¤¤¤¤¤##?", "*#*#*#*#"
)

_VALUES: tuple[tuple[str, Maker, tuple[str, ...]], ...] = (
    ("email", _EMAIL, ("Write to {v}.", "<{v}>", "to={v}&x=1", "{v}, Berlin", "E-Mail:{v}", "- {v} (IT)")),
    ("phone", _PHONE, ("Tel.: {v}", "Phone {v}", "Fax: {v}, Haus 3", "My number is {v}.", "| Anna | {v} |",
                       "mobile={v}", "Reception: {v}", "please call {v} now", "{v} (after 6 pm)", "T {v}\nF")),
    ("iban", _iban, ("IBAN: {v}", "Transfer to {v} today.", "{v};EUR;", "account {v} (main)", "von {v} nach", '"{v}"')),
    ("card", _card, ("card {v}", "Visa: {v}, 12/27", "{v};ok", "used {v} for the hotel", "number {v}.")),
    ("national_id", _identity, ("SSN {v}", "National ID: {v}", "tax id={v}", "Steuer-ID: {v}", "identity no. {v},",
                                "Personal number {v} noted", "insurance number: {v}")),
    ("ip", _ip, ("IP {v}", "server {v} is down", "host={v}", "ping {v}", "connect to {v}:8080".replace(":8080", ""),
                 "{v} is the gateway", "from {v} to the core", '"address": "{v}"')),
    ("api_key", _KEY, ("API_KEY={v}", "token: {v}", "key {v} is live", '"{v}"', "Use {v}, then", "({v})")),
    ("jwt", _JWT, ("Bearer {v}", "token={v};", "jwt: {v}", "{v}")),
    ("private_key", _private_key, ("{v}", "Key:\n{v}\nend", "ssh\n\n{v}")),
    ("connection_string", _DSN, ("DSN: {v}", "DB={v}", "'{v}'", "connect to {v} first", "- {v}")),
    ("password", _PASSWORD, ("password: {v}", "Password = {v}", "pwd={v}", "Kennwort: {v}", "passwd \"{v}\"".replace(" ", "="),
                             "DB_PASSWORD={v}", "the password is {v}.", "password '{v}'".replace(" ", ": "), "Passwort lautet {v}", "pw: {v}",
                             "login: bob / password: {v}", "<pwd>{v}</pwd>", "dbPassword={v}")),
)  # fmt: skip

_DECOYS: tuple[tuple[str, Maker, tuple[str, ...]], ...] = (
    ("version", _pick("#.#.#", "v#.##.#", "##.#.#.#", "#.##.###.#", "20##.##.#"), ("version {v}", "Install {v}.", "tool=={v}", "since {v}", "v{v}")),
    ("date", _pick("20##-0#-1#", "1#.0#.20##", "0#.1#.19##", "0#/2#/20##", "20##1012", "0#-0#-20##", "1#. 0#. 20##", "01.01.20## - 31.12.20##"), ("on {v}", "{v}", "until {v}, then", "Datum: {v}")),
    ("hash", _pick("~" * 40, "~" * 64, "~" * 7, "~" * 32, "~~~~~~~~-~~~~-~~~~-~~~~-~~~~~~~~~~~~"), ("sha {v}", "commit {v}", "id={v}", "{v}")),
    ("isbn", _pick("978-3-16-148410-#", "0-306-40615-#", "97831614841##", "ISSN 2049-36##"), ("ISBN {v}", "see {v}", "({v})")),
    ("part", _pick("HI-####", "##-###-##", "^^^-####-#", "####-##-###", "###.###.####", "0###-####", "^##-#####", "A ### ### ## ##", "##########", "#####-###"), ("part {v}", "Art.-Nr. {v}", "Serial {v}", "| {v} | gasket |", "order {v}")),
    ("order", _pick("#######", "########", "#########", "20##-#####", "INV######", "0000######"), ("Order {v}", "Rechnung {v}", "ticket #{v}", "PO {v}", "Ref. {v}")),
    ("amount", _pick("##.###,## EUR", "$#,###.##", "### ###", "#,###,###", "0.######", "#.### - #.###", "### 000 000"), ("costs {v}", "{v} in total", "| {v} |")),
    ("measure", _pick("### x ### x ###", "##.#-##.# mm", "1:####", "#### x ####", "+## / -## °C", "#.#e-##"), ("size {v}", "{v}")),
    ("time", _pick("0#:##-1#:##", "1#:##:##", "20##-0#-1#T1#:##:##Z", "##:##:##.###"), ("at {v}", "{v}")),
    ("code", _pick("foo::bar(#)", "a::b::c", "#x~~~~", "x[#:#:#]", "~~:~~:~~:~~:~~:~~", "¤¤¤¤¤_¤¤¤¤_¤¤¤¤_##", "¤¤¤¤¤-¤¤¤¤¤-¤¤¤¤¤-##", "user@host", "icon@2x.png", "@¤¤¤¤"), ("`{v}`", "call {v}", "{v}")),
    ("prose", lambda rng: rng.choice((
        "Password: required", "The password must have 12 characters.", "password is never shared with anybody",
        "Passwords: see the password policy", "Pass: 97 of 100", "The secret is out.", "The key is under the mat 12.",
        "tokens: 4096", "passed: yes", "def login(user, password=None):", "password = getpass()", "pwd=$(cat file)",
        "api_key: YOUR_API_KEY", "token: <token>", "secret_key = config.secret_key", "Password123 is a bad password",
        "compass: 120 degrees", "https://a.example/x?y=z@w", "key: value", "keyword: 12 of 20", "bypass=true2")),
     ("{v}",)),
    ("id", _pick("user ######", "Kunde ######", "#######", "ID-######", "EAN 40########", "US-#######", "RFC ####", "§ #.#.#.#"), ("{v} joined", "see {v}", "| {v} |")),
)  # fmt: skip
