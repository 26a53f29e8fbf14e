# ruff: noqa: E501 (rows of templates read better as rows)
"""The held-out set: written before the patterns, by templates of its own, and only ever run."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from random import Random

from tests.documents.scrub_sets.cases import Case, Maker, draw, make_cases, make_decoys

PER_CLASS = 200
PER_DECOY = 40


def make_held_out(seed: int = 8) -> list[Case]:
    """All cases: 200 values of each class, 40 look-alikes of each kind."""
    rng = Random(seed)
    cases: list[Case] = []
    for kind, makers, contexts in _VALUES:
        cases += make_cases(kind, makers, contexts, PER_CLASS, rng)
    for kind, makers, contexts in _DECOYS:
        cases += make_decoys(kind, makers, contexts, PER_DECOY, rng)
    return cases


def _pick(*patterns: str) -> Maker:
    return lambda rng: draw(rng, rng.choice(patterns))


_FIRST = (
    "maja",
    "oskar",
    "ines.k",
    "t_bauer",
    "li-na",
    "r.okafor",
    "Sven.Dahl",
    "kim2",
    "j+alerts",
)
_LAST = ("brandt", "molina", "tanaka", "novak", "oduya", "", "leclerc", "7")
_HOSTS = (
    "nordwerk.example", "mail.kestrel.co.uk", "vela-systems.io", "oberland.de", "fjordlab.no",
    "sub.team.acme-tools.com", "posteo.net", "kanto.co.jp", "x9.dev", "gmail.com", "ümlaut.de",
)  # fmt: skip


def _email(rng: Random) -> str:
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    return f"{first}{'.' if last else ''}{last}@{rng.choice(_HOSTS)}"


_EMAIL_CONTEXTS = (
    "Send the signed form back to {v}, please.",
    "Cc: Finance <{v}>; Legal",
    "owner;{v};active",
    '{"contact": "{v}", "role": "approver"}',
    "Bei Fragen hilft {v} weiter.",
    "(mailto:{v}?subject=Leave)",
    "From:{v}\nDate: Tue, 4 Mar",
    "| Berta | {v} | Lisbon |",
    "git commit --author='B <{v}>'",
)

_PHONES = _pick(
    "(4##) 555-01##", "+1 415-555-01##", "312.555.01##", "1-800-555-01##", "+1 (646) 555 01##",
    "020 7946 0###", "07700 900###", "+44 20 7946 0###", "+44 (0)161 496 0###", "0161 496 0###",
    "0211 / 55 64 7##", "030-23125 ###", "+49 (0)89 636-48###", "+49 171 39200##", "0171/39200##",
    "01 99 00 ## ##", "+33 1 99 00 ## ##", "06.39.98.##.##", "044 668 18 ##", "+41 44 668 18 ##",
    "+39 06 698 12###", "+34 912 34# ###", "+91 98765 43###", "03-1234-5###", "+81-3-1234-5###",
    "+48 22 555 ## ##", "+31 20 794 ####", "+86 10 6552 ####", "+552133######", "00 45 32 10 ## ##",
)  # fmt: skip
_PHONE_CONTEXTS = (
    "Ring the front desk on {v} before noon.",
    "Mobil: {v}",
    "Hotline {v} (Mo-Fr 8-17)",
    "You can reach Ines at {v}.",
    '"mobile": "{v}",',
    "Helga Sommer, Einkauf, {v}",
    "Telefax {v}",
    "| night shift | {v} |",
    "Call {v} or walk to gate 4.",
    "tel. {v}",
    "In an emergency dial {v}, then pull the alarm.",
)

_IBAN_LENGTHS = {
    "DE": "##################", "GB": "^^^^##############", "FR": "####################*##",
    "NL": "^^^^##########", "ES": "####################", "IT": "^######################",
    "CH": "#################", "AT": "################", "PL": "########################",
    "SE": "####################", "NO": "###########", "BE": "############",
}  # fmt: skip


def _iban(rng: Random) -> str:
    country = rng.choice(sorted(_IBAN_LENGTHS))
    account = draw(rng, _IBAN_LENGTHS[country]).upper()
    number = int("".join(str(int(char, 36)) for char in account + country + "00"))
    whole = f"{country}{98 - number % 97:02}{account}"
    style = rng.randrange(4)
    if style == 0:
        return whole
    if style == 1:
        return whole.lower()
    groups = [whole[start : start + 4] for start in range(0, len(whole), 4)]
    return ("-" if style == 2 and rng.random() < 0.3 else " ").join(groups)


_IBAN_CONTEXTS = (
    "Refunds go to {v} within ten days.",
    "Bankverbindung: {v}, BIC COBADEFFXXX",
    "iban={v}",
    "Supplier 7731\t{v}\tEUR",
    '<account type="giro">{v}</account>',
    "Please quote the invoice when you pay into {v}.",
    "Konto {v} bei der Sparkasse",
)


def _luhn(body: str) -> str:
    digits = [int(char) for char in body + "0"]
    total = sum(sum(divmod(2 * d, 10)) if place % 2 else d for place, d in enumerate(digits[::-1]))
    return body + str(-total % 10)


def _card(rng: Random) -> str:
    kind = rng.choice(("4###############", "51##############", "2223############", "6011############",
                       "37#############", "3528############", "3056##########", "50189#######"))  # fmt: skip
    number = _luhn(draw(rng, kind)[:-1])
    if len(number) != 16:
        return number
    mark = rng.choice((" ", "-", ""))
    return mark.join(number[start : start + 4] for start in range(0, 16, 4))


_CARD_CONTEXTS = (
    "The corporate Visa is {v}, expires 09/27.",
    "card_number,{v},paid",
    "Kreditkarte {v}",
    "Guest paid with {v} at the desk.",
    "PAN: {v} CVV 311",
    '{"pan":"{v}"}',
    "charged to {v}.",
)


def _weighted(body: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(body, weights, strict=False))


def _steuer_id(rng: Random) -> str:
    digits = rng.sample("0123456789", 9)
    digits.insert(rng.randrange(1, 10), rng.choice(digits))
    if digits[0] == "0":
        digits[0], digits[-1] = digits[-1], digits[0]
    body = "".join(digits)
    if body[0] == "0" or any(body[n] == body[n + 1] == body[n + 2] for n in range(8)):
        return _steuer_id(rng)
    product = 10
    for digit in body:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    whole = body + str((11 - product) % 10)
    return rng.choice((whole, f"{whole[:2]} {whole[2:5]} {whole[5:8]} {whole[8:]}"))


def _dni(rng: Random) -> str:
    number = rng.randrange(10**7, 10**8)
    return f"{number}{'-' * rng.randrange(2)}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def _nir(rng: Random) -> str:
    body = draw(rng, rng.choice("12") + "##") + f"{rng.randint(1, 12):02}" + draw(rng, "75######")
    whole = body + f"{97 - int(body) % 97:02}"
    if rng.random() < 0.5:
        return whole
    cuts = (0, 1, 3, 5, 7, 10, 13, 15)
    return " ".join(whole[a:b] for a, b in pairwise(cuts))


def _bsn(rng: Random) -> str:
    while True:
        body = draw(rng, "1#######")
        check = _weighted(body, (9, 8, 7, 6, 5, 4, 3, 2)) % 11
        if check < 10:
            return body + str(check)


def _pesel(rng: Random) -> str:
    body = f"{rng.randint(50, 99)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}" + draw(
        rng, "####"
    )
    return body + str(-_weighted(body, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10)


def _cpf(rng: Random) -> str:
    body = draw(rng, "#########")
    for _ in range(2):
        rest = _weighted(body, tuple(range(len(body) + 1, 1, -1))) * 10 % 11 % 10
        body += str(rest)
    return rng.choice((body, f"{body[:3]}.{body[3:6]}.{body[6:9]}-{body[9:]}"))


def _personnummer(rng: Random) -> str:
    born = f"{rng.randint(50, 99)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}"
    whole = _luhn(born + draw(rng, "###"))
    return rng.choice((f"{whole[:6]}-{whole[6:]}", f"19{whole[:6]}-{whole[6:]}"))


def _ahv(rng: Random) -> str:
    body = "756" + draw(rng, "#########")
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(body))
    whole = body + str(-total % 10)
    return f"{whole[:3]}.{whole[3:7]}.{whole[7:11]}.{whole[11:]}"


def _hetu(rng: Random) -> str:
    born = f"{rng.randint(1, 28):02}{rng.randint(1, 12):02}{rng.randint(50, 99)}"
    serial = f"{rng.randint(2, 899):03}"
    return f"{born}-{serial}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(born + serial) % 31]}"


def _sin(rng: Random) -> str:
    whole = _luhn(draw(rng, "4#######"))
    return f"{whole[:3]} {whole[3:6]} {whole[6:]}"


def _ssn(rng: Random) -> str:
    area, group, serial = rng.randint(1, 665), rng.randint(1, 99), rng.randint(1, 9999)
    return rng.choice(("{:03}-{:02}-{:04}", "{:03} {:02} {:04}")).format(area, group, serial)


_NINO = _pick("AB######C", "JK ## ## ## A", "PW######D", "SE ## ## ## B")
_PAN = _pick("^^^P^####^", "^^^C^####^")

_ID_CONTEXTS = (
    "Employee national id {v}, joined 2019.",
    "Social security number: {v}",
    "Tax ID {v} was checked by payroll.",
    "identity_number,{v}",
    "Her ID number is {v}.",
    '"taxId": "{v}"',
    "ID-Nummer (amtlich): {v}",
    "| national insurance | {v} |",
    "personal number {v} on the contract",
)
_PLAIN_ID_CONTEXTS = ("Joined in May; {v}; full time.", "| Berta Koch | {v} | Lisbon |")


def _ipv6(rng: Random) -> str:
    style = rng.randrange(3)
    if style == 0:
        return draw(rng, "2a02:~~~:~~~~:~~~::~~")
    if style == 1:
        return draw(rng, "fe80::1~~~:~~ff:fe~~:~~~~")
    return ":".join(f"{rng.randrange(4096, 65536):x}" for _ in range(8))


def _ipv4(rng: Random) -> str:
    first = rng.choice(("10", "172.16", "192.168", "203.0.113", "88.198", "34.120.9"))
    rest = 3 - first.count(".")
    return ".".join([first, *(str(rng.randint(2, 250)) for _ in range(rest))])


_IP_CONTEXTS = (
    "Der Druckserver steht unter {v} im Keller.",
    "Accepted publickey for root from {v} port 51234 ssh2",
    "nameserver {v}",
    "ssh admin@{v}",
    "Allow {v} on the firewall, nothing else.",
    '{v} - - [04/Mar/2025:10:01:02 +0100] "GET / HTTP/1.1" 200',
    "| gateway | {v} | rack 3 |",
    "endpoint: '{v}'",
)

_KEYS = _pick(
    "AKIA^^^^##^^^^##^^^^", "ASIA^^##^^^^^^^^^^##", "ghp_************************************",
    "gho_************************************", "github_pat_11A*******************_" + "*" * 59,
    "glpat-********************", "xoxb-############-#############-************************",
    "xoxp-############-############-############-~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~",
    "sk_live_************************", "rk_live_************************",
    "sk-proj-" + "*" * 48, "sk-ant-api03-" + "*" * 93 + "AA", "AIza" + "*" * 35,
    "GOCSPX-" + "*" * 28, "hf_" + "*" * 34, "npm_" + "*" * 36, "pypi-AgEIcHlwaS5vcmc" + "*" * 60,
    "SG." + "*" * 22 + "." + "*" * 43, "key-" + "~" * 32, "~" * 32 + "-us1#", "dop_v1_" + "~" * 64,
    "shpat_" + "~" * 32, "glsa_" + "*" * 32 + "_" + "~" * 8, "NRAK-" + "^" * 20 + "#######",
    "hvs." + "*" * 28, "dapi" + "~" * 32, "lin_api_" + "*" * 40, "ntn_" + "*" * 46, "r8_" + "*" * 37,
    "PMAK-" + "~" * 24 + "-" + "~" * 34, "sntrys_" + "*" * 60, "tskey-auth-" + "*" * 12 + "-" + "*" * 32,
    "########:AA" + "*" * 33, "sq0csp-" + "*" * 43, "dckr_pat_" + "*" * 27, "figd_" + "*" * 40,
    "pat" + "*" * 14 + "." + "~" * 64, "gsk_" + "*" * 52, "EZAK" + "*" * 54, "rubygems_" + "~" * 48,
    "ATATT3xFf" + "*" * 60, "https://hooks.slack.com/services/T########/B########/" + "*" * 24,
)  # fmt: skip
_KEY_CONTEXTS = (
    "export VENDOR_CREDENTIAL={v}",
    "The bot still uses {v}; rotate it.",
    "headers = {'X-Auth': '{v}'}",
    "curl -u {v}: https://api.vendor.example/v2",
    "found `{v}` in the build log",
    "    value: {v}",
    "{v}",
)


def _jwt(rng: Random) -> str:
    def encode(body: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(body).encode()).rstrip(b"=").decode()

    head = {"alg": rng.choice(("HS256", "RS256", "ES384")), "typ": "JWT"}
    claims = {"sub": draw(rng, "########"), "iss": draw(rng, "¤¤¤¤¤¤"), "exp": rng.randrange(2**31)}
    return f"{encode(head)}.{encode(claims)}.{draw(rng, '*' * 43)}"


_JWT_CONTEXTS = (
    "Cookie: session={v}; Path=/",
    "Log line: jwt {v} rejected",
    'id_token":"{v}"',
    "https://app.example/cb#access={v}",
    "Authorization: Bearer {v}",
)


def _private_key(rng: Random) -> str:
    kind = rng.choice(
        ("EC PRIVATE ", "OPENSSH PRIVATE ", "PRIVATE ", "ENCRYPTED PRIVATE ", "DSA PRIVATE ")
    )
    lines = "\n".join(draw(rng, "*" * 64) for _ in range(rng.randint(3, 9)))
    return f"-----BEGIN {kind}KEY-----\n{lines}\n{draw(rng, '*' * 20)}==\n-----END {kind}KEY-----"


_PRIVATE_KEY_CONTEXTS = (
    "Install this on the jump host:\n\n{v}\n\nthen restart sshd.",
    "key: |\n{v}\n",
    "{v}",
    "cat <<EOF > id\n{v}\nEOF",
)

_DSN = _pick(
    "postgresql://svc_report:¤¤##¤¤##Q@db3.internal:5432/finance",
    "mysql://root:^¤¤¤##!x@10.20.30.40/shop", "mongodb+srv://etl:¤¤¤¤##¤¤¤¤@cluster0.ab1cd.mongodb.net/x",
    "redis://:¤¤¤¤¤¤¤¤####@cache.local:6379/0", "amqps://bus:^^¤¤¤####@mq.kestrel.example/prod",
    "Server=tcp:sql01,1433;Database=hr;User ID=app;Password=^¤¤¤¤##!¤¤;Encrypt=True;",
    "Data Source=ORCL;User Id=hr;Password=¤¤¤¤####^;",
    "DefaultEndpointsProtocol=https;AccountName=store¤¤¤;AccountKey=" + "*" * 86 + "==;EndpointSuffix=core.windows.net",
    "jdbc:postgresql://db/crm?user=crm&password=¤¤##¤¤##^", "ftp://deploy:¤¤¤¤##^^@files.example/in",
    "https://ci-bot:¤¤¤¤¤¤¤¤¤¤##@git.example/team/repo.git",
    "Endpoint=sb://bus.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=" + "*" * 43 + "=",
    "mssql+pyodbc://sa:^¤¤¤¤##!@sql7/warehouse", "Driver={SQL Server};Server=s1;Uid=rep;Pwd=¤¤¤##^¤;",
)  # fmt: skip
_DSN_CONTEXTS = (
    "DATABASE_URL={v}",
    "The report job connects with {v}",
    'connectionString="{v}"',
    "url: {v}",
    "old: `{v}` (replace before go-live)",
)

_PASSWORDS = _pick(
    "^¤¤¤¤¤##!", "¤¤¤¤¤¤-¤¤¤¤¤-##", "¤¤##^^¤¤##", "^¤¤¤¤¤¤¤####", "!¤¤¤¤¤^¤#", "¤¤¤¤¤¤_¤¤¤¤##",
    "^¤¤¤¤¤¤¤.####", "#¤#¤#¤#¤#¤", "^^^-¤¤¤-###-$$",
)  # fmt: skip
_PASSWORD_CONTEXTS = (
    "password={v}",
    "Passwort: {v}",
    "db_password: '{v}'",
    '"pwd": "{v}"',
    "SMTP_PASS={v}",
    "The wifi password is {v}",
    "mot de passe : {v}",
    "<password>{v}</password>",
    'root_pw = "{v}"',
    "spring.datasource.password={v}",
    "user: admin / pass: {v}",
    "contraseña: {v}",
    "ADMIN_PASSWORD: {v}",
    "--password {v} --host db1",
    "passphrase: {v}",
)

_VALUES: tuple[tuple[str, tuple[Maker, ...], tuple[str, ...]], ...] = (
    ("email", (_email,), _EMAIL_CONTEXTS),
    ("phone", (_PHONES,), _PHONE_CONTEXTS),
    ("iban", (_iban,), _IBAN_CONTEXTS),
    ("card", (_card,), _CARD_CONTEXTS),
    (
        "national_id",
        (_ssn, _NINO, _steuer_id, _dni, _nir, _bsn, _pesel, _cpf, _personnummer, _ahv, _hetu,
         _sin, _PAN),
        _ID_CONTEXTS,
    ),
    ("national_id", (_dni, _nir, _personnummer, _ahv, _hetu), _PLAIN_ID_CONTEXTS),
    ("ip", (_ipv4, _ipv4, _ipv6), _IP_CONTEXTS),
    ("api_key", (_KEYS,), _KEY_CONTEXTS),
    ("jwt", (_jwt,), _JWT_CONTEXTS),
    ("private_key", (_private_key,), _PRIVATE_KEY_CONTEXTS),
    ("connection_string", (_DSN,), _DSN_CONTEXTS),
    ("password", (_PASSWORDS,), _PASSWORD_CONTEXTS),
)  # fmt: skip


def _isbn13(rng: Random) -> str:
    body = "978" + draw(rng, "#########")
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(body))
    whole = body + str(-total % 10)
    return rng.choice((whole, f"{whole[:3]}-{whole[3]}-{whole[4:8]}-{whole[8:12]}-{whole[12]}"))


def _date(rng: Random) -> str:
    year, month, day = rng.randint(1998, 2031), rng.randint(1, 12), rng.randint(1, 28)
    return rng.choice(
        (f"{year}-{month:02}-{day:02}", f"{day:02}.{month:02}.{year}", f"{month:02}/{day:02}/{year}",
         f"{year}{month:02}{day:02}", f"{day:02}-{month:02}-{year}", f"{day:02}.{month:02}.{year % 100:02}",
         f"{year}-{month:02}-{day:02}T{rng.randint(0, 23):02}:15:09.{rng.randint(100, 999)}Z",
         f"{day:02}.{month:02}.{year} - {month:02}.{day:02}.{year + 1}")
    )  # fmt: skip


_PLAIN = ("See {v} for details.", "{v}", "| item | {v} | ok |", "It says {v} on the label.")

_DECOYS: tuple[tuple[str, tuple[Maker, ...], tuple[str, ...]], ...] = (
    (
        "version",
        (_pick("#.##.#", "v#.#.#.##", "##.#.####.##", "#.#.#-rc#", "20##.#.#", "#.##.#.#"),),
        ("Upgrade the agent to {v} first.", "Firmware {v}", "requires numpy=={v}",
         "Release {v} fixed it.", '"version": "{v}"', "Version: {v}", "build {v} (stable)"),
    ),
    ("date", (_date,), ("On {v} the lease ends.", "| {v} | signed |", "{v}: moved in", "due={v}")),
    ("isbn", (_isbn13,), ("ISBN {v}", "ISBN-13: {v}", "The book ({v}) is in the library.")),
    (
        "hash",
        (_pick("~" * 40, "~" * 32, "~" * 64, "~~~~~~~~-~~~~-4~~~-a~~~-~~~~~~~~~~~~", "sha256:" + "~" * 64),),
        ("commit {v}", "md5 {v}  image.iso", "request id {v}", "etag: {v}", "{v}"),
    ),
    (
        "part",
        (_pick("HX-####-##", "##-####-###", "^^##-###", "####.###.##", "SN########", "^#######-#",
               "###-####^", "##.###.####", "PN ###-###-####-##", "^^ ## ###"),),
        ("Order part {v} from the store.", "serial {v}", "Artikel {v}", "| {v} | seal ring | 4 |",
         "The pump {v} has a new impeller."),
    ),
    (
        "order",
        (_pick("########", "##########", "PO-######", "INV-20##-####", "#########", "###########",
               "R####-######", "4500######"),),
        ("Invoice {v} is overdue.", "order no. {v}", "ticket {v} was closed", "Delivery note {v}",
         "case {v}", "Auftrag {v}"),
    ),
    (
        "amount",
        (_pick("1,###,###.##", "€ ##.###,##", "###,###", "#.###.###", "$#,###", "#### mm", "## ### EUR",
               "#.#e-##", "###.#### kg", "##,##0.00"),),
        ("The budget is {v}.", "Total {v}", "| cost | {v} |", "limit={v}"),
    ),
    (
        "time",
        (_pick("##:##:##", "08:00 - 17:30", "09:15-10:45", "1#:##", "##h##", "00:00:##.###"),),
        ("Open {v}.", "duration {v}", "It ran {v} and stopped."),
    ),
    (
        "tracking",
        (_pick("1Z###^##########", "JD0146000##########", "00340434#########", "RR#########DE"),),
        ("Parcel {v} arrived.", "tracking number {v}"),
    ),
    (
        "place",
        (_pick("48.####, 11.####", "-33.#####", "D-#####", "SW1A #AA", "#####-####", "N 47° ##.###'"),),
        ("The warehouse is at {v}.", "postcode {v}", "Position {v}"),
    ),
    (
        "code",
        (_pick("std::vector<int>", "arr[##:##]", "0x~~~~~~~~", "#~~~~~~", "00:1~:~~:~~:~~:~~",
               "user_id_####", "getToken()", "a1b2::c3", "¤¤¤¤¤¤.¤¤¤¤¤.¤¤¤¤¤", "feature/HR-####-login-page"),),
        ("Use `{v}` here.", "the value {v} is printed", "colour {v}", "{v} = compute()"),
    ),
    (
        "prose",
        (lambda rng: rng.choice((
            "Passwords must have at least 12 characters and one digit.",
            "Never write your password: use the manager instead.",
            "The secret of good coffee is fresh water, says the key account manager.",
            "Ask for a token at the reception; it opens gate 2.",
            "Password reset: see page 14.", "api key: ask the platform team",
            "The password is required for every login.", "password: <your password>",
            "Our IBAN stands on every invoice.", "Set PASSWORD=${DB_PASSWORD} in the shell.",
            "The pass rate was 97.5 % in 2024.", "Pwd: ********", "token = get_token(user)",
            "password = os.environ['DB_PASS']", "Bearer tokens expire after 60 minutes.",
            "Call the office @ noon.", "secret: none", "Kennwort: nur auf Anfrage",
            "client_secret: {{ vault.client_secret }}", "The private key stays on the card.",
            "postgres://localhost:5432/dev", "https://docs.example/a?b=c@d", "user:pass@host",
            "@maria please review, see #4411",
        )),),
        ("{v}",),
    ),
    (
        "gtin",
        (_pick("40##########", "5000##########", "CAS 7732-18-#", "DIN EN 60##-#-##", "ISO 9001:20##",
               "RFC ####", "§ ##.#.#.#", "EN 1##:20##+A#"),),
        ("EAN {v}", "barcode {v}", "according to {v}", "see {v}"),
    ),
    (
        "version",
        (_pick("#.#.#.#", "##.#.#.#"),),
        ("Section {v} of the manual", "Chapter {v}: Cleaning", "driver {v} or newer", "{v} Scope of delivery"),
    ),
    (
        "id",
        (_pick("row ########", "EMP####", "dept-##-####", "000###", "ID ####", "C-########", "K########"),),
        ("User {v} was merged.", "{v} is closed", "| {v} | yes |"),
    ),
)  # fmt: skip
