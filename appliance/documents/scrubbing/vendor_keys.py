"""Keys and tokens that carry the prefix of their vendor.

A row is the vendor and the shape of its keys, as the vendor's own pages on keys or on secret
scanning describe it. A new vendor is a new row; the prefix must be rare in ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from appliance.documents.scrubbing.finding import Finding, Piece

VENDORS: tuple[tuple[str, str], ...] = (
    # models and data
    ("OpenAI, Anthropic, OpenRouter, DeepSeek", r"sk-(?:[a-z0-9]+-)*%u{20,}"),
    ("Hugging Face", r"(?:hf|api_org)_%b{20,}"),
    ("Groq", r"gsk_%b{40,}"),
    ("Perplexity", r"pplx-%b{40,}"),
    ("xAI", r"xai-%b{60,}"),
    ("Replicate", r"r8_%b{37,}"),
    ("NVIDIA", r"nvapi-%u{40,}"),
    ("LangSmith", r"lsv2_(?:pt|sk)_%h{32}_%h{10}"),
    ("LangFuse", r"(?:pk|sk)-lf-[0-9a-f-]{36}"),
    ("Pinecone", r"pcsk_%u{40,}"),
    ("Tavily", r"tvly-%u{20,}"),
    ("Weights & Biases", r"wandb_v1_%u{40,}"),
    ("Databricks", r"dapi%h{32}(?:-\d)?"),
    ("Postman", r"PMAK-%h{24}-%h{34}"),
    ("ReadMe", r"rdme_[a-z0-9]{60,}"),
    # clouds
    ("AWS", r"A(?:KIA|SIA|GPA|IDA|ROA|BIA|CCA|IPA|NPA|NVA|PKA|SCA)[0-9A-Z]{16}(?![0-9A-Z])"),
    ("AWS Bedrock", r"ABSK[A-Za-z0-9+/]{100,}={0,2}"),
    ("Google", r"AIza%u{35}"),
    ("Google", r"GOCSPX-%u{28}"),
    ("Google", r"ya29\.%u{20,}"),
    ("Google", r"1//0%u{40,}"),
    ("Azure", r"[A-Za-z0-9~_.-]{3}\dQ~[A-Za-z0-9~_.-]{31,34}"),
    ("Azure", r"[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{26}"),
    ("Alibaba", r"LTAI%b{16,24}"),
    ("Tencent", r"AKID%b{32}"),
    ("Scaleway", r"SCW[A-Z0-9]{17}"),
    ("Yandex", r"AQVN%u{35,38}"),
    ("Yandex", r"t1\.[A-Z0-9a-z_-]{20,}\.%u{86}"),
    ("DigitalOcean", r"do[opr]_v1_%h{64}"),
    ("Fly", r"FlyV1 fm\d_[\w+/=,-]{40,}"),
    ("Fly", r"fo1_[\w-]{43}"),
    ("Fly", r"fm2_[A-Za-z0-9+/=]{40,}"),
    ("Heroku", r"HRKU-%u{36,}"),
    ("Render", r"rnd_%b{28,}"),
    ("Netlify", r"nfp_%b{36,}"),
    ("Cloudflare", r"v1\.0-%h{24}-%h{146}"),
    ("Supabase, Neon, PlanetScale", r"sbp_%h{40}"),
    ("Supabase, Neon, PlanetScale", r"sb_secret_%u{20,}"),
    ("Supabase, Neon, PlanetScale", r"(?:napi|npg)_%b{12,}"),
    ("Supabase, Neon, PlanetScale", r"pscale_(?:tkn|pw|oauth)_[\w.=-]{32,}"),
    ("MongoDB", r"mdb_sa_sk_%u{30,}"),
    ("Snyk", r"snyk_(?:uat|sat)\.%u{8,}\.%u{20,}"),
    ("Aiven", r"AVNS_%u{19}"),
    # code and packages
    ("GitHub", r"gh[pousr]_\w{20,}"),
    ("GitHub", r"github_pat_\w{20,}"),
    ("GitLab", r"gl(?:pat|dt|rt|ptt|ft|soat|cbt|imt|agent|oas|ffct|wt)-%u{16,}(?:\.%u+)*"),
    ("GitLab", r"GR1348941%u{20,}"),
    ("Bitbucket", r"ATBB%b{28,}"),
    ("Atlassian", r"AT(?:ATT|CTT)3%u{50,}(?:=[0-9A-F]{8})?"),
    ("npm", r"npm_%b{30,}"),
    ("PyPI", r"pypi-AgE%u{50,}"),
    ("RubyGems", r"rubygems_%h{48}"),
    ("NuGet", r"oy2[a-z0-9]{43}"),
    ("Clojars", r"CLOJARS_[a-z0-9]{60}"),
    ("crates.io", r"cio%b{32}(?![A-Za-z0-9])"),
    ("Docker", r"dckr_(?:pat|oat)_%u{20,}"),
    ("Artifactory", r"AKC(?=\w*\d)(?=\w*[a-z])[A-Za-z0-9]{13,}"),
    ("Artifactory", r"cmVmd[A-Za-z0-9+/]{58,}"),
    ("SonarQube", r"sq[pau]_%h{40}"),
    ("CircleCI", r"CCI(?:PAT|PRJ)_%b{20,}_%h{40}"),
    ("Buildkite", r"bkua_%h{40}"),
    ("Sourcegraph", r"sgp_(?:%h{16}_|local_)?%h{40}"),
    ("LaunchDarkly", r"(?:sdk|mob|api)-%h{8}-%h{4}-4%h{3}-%h{4}-%h{12}"),
    # secrets and infrastructure
    ("HashiCorp Vault", r"hv[sbr]\.%u{24,}"),
    ("Terraform Cloud", r"%b{14}\.atlasv1\.%u{60,}"),
    ("Pulumi", r"pul-%h{40}"),
    ("Doppler", r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[\w-]+\.)?%b{40,44}"),
    ("1Password, age", r"ops_eyJ%u{80,}={0,2}"),
    ("1Password, age", r"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{5,11}-?){4,6}"),
    ("1Password, age", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    ("Tailscale", r"tskey-[a-z]+-%b{8,}-%b{20,}"),
    ("Grafana", r"gl(?:sa|c)_[\w+/=-]{32,}"),
    ("New Relic", r"NR(?:AK|JS|II|RA|AA|BR)-[A-Za-z0-9-]{19,}"),
    ("Datadog", r"dd(?:apit|app)_%u{30,}"),
    ("Dynatrace", r"dt0[a-z]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    ("Sentry", r"sntry[su]_%u{40,}=*(?:_[\w+/]{43})?"),
    ("Honeycomb", r"hc[abx][iml]k_%b{40,}"),
    ("PostHog", r"ph[cxs]_%b{40,}"),
    ("Prefect", r"pn[ub]_%b{36}"),
    ("OpenShift", r"sha256~%u{43}"),
    # messages and mail
    ("Slack", r"xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,}"),
    ("Slack", r"xapp-\d-%u{20,}"),
    ("Slack", r"xwfp-%u{20,}"),
    ("Slack", r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[\w/+]{20,}"),
    ("Teams", r"https://[\w.-]+\.webhook\.office\.com/\S{40,}"),
    ("Discord", r"https://discord(?:app)?\.com/api/webhooks/\d+/%u{40,}"),
    ("Telegram", r"\d{8,10}:%u{35}(?![\w-])"),
    ("Discord", r"[MNO][A-Za-z\d_-]{23,27}\.%u{6}\.%u{27,}"),
    ("SendGrid", r"SG\.%u{16,}\.%u{32,}"),
    ("Brevo", r"x(?:keys|smtps)ib-%h{64}-%b{16}"),
    ("Resend", r"re_%b{8}_%b{20,}"),
    ("Mailgun, Mailchimp", r"(?:key|pubkey)-%h{32}(?!%h)"),
    ("Mailgun, Mailchimp", r"[0-9a-z]{32}-us\d{1,2}\b"),
    ("Mailgun, Mailchimp", r"%h{32}-%h{8}-%h{8}\b"),
    ("Twilio", r"(?:SK|AC)[0-9a-z]{32}\b"),
    # money and shops
    ("Stripe and the like", r"(?:sk|rk|pk)_(?:live|test)_%b{16,}"),
    ("Stripe and the like", r"whsec_[A-Za-z0-9+/=]{24,}"),
    ("Square", r"sq0(?:atp|csp|idp)-%u{22,}"),
    ("Square", r"EAAA%u{58,}"),
    ("PayPal, Braintree, Plaid", r"access_token\$(?:production|sandbox)\$[a-z0-9]{16}\$%h{32}"),
    ("PayPal, Braintree, Plaid", r"access-(?:sandbox|development|production)-[0-9a-f-]{36}"),
    ("Shopify", r"shp(?:at|ca|pa|ss|tka|ua)_%h{32}"),
    ("Razorpay", r"rzp_(?:live|test)_%b{14,}"),
    ("Flutterwave", r"FLWSECK(?:_TEST)?-%b{12,}(?:-X)?"),
    ("GoCardless", r"(?:live|sandbox)_%u{38,}"),
    ("EasyPost", r"EZ[AT]K%b{54}"),
    ("Shippo", r"shippo_(?:live|test)_%h{40}"),
    ("Duffel", r"duffel_(?:live|test)_%u{43}"),
    ("Lob", r"(?:live|test)_pub_%h{31}"),
    # work
    ("Airtable", r"pat%b{14}\.%h{64}"),
    ("Notion", r"ntn_%b{40,}"),
    ("Notion", r"secret_%b{43}"),
    ("Linear", r"lin_(?:api|oauth)_%b{30,}"),
    ("Asana", r"\d/\d{10,}/\d{10,}:%h{32}"),
    ("Figma", r"fig[dour]_%u{30,}"),
    ("Dropbox", r"sl\.%u{60,}"),
    ("Typeform", r"tfp_[\w.=-]{40,}"),
    ("HubSpot", r"pat-(?:na|eu)\d-%h{8}-(?:%h{4}-){3}%h{12}"),
    ("Contentful, Algolia, Mapbox", r"CFPAT-%u{43}"),
    ("Contentful, Algolia, Mapbox", r"[ps]k\.eyJ%u{20,}\.%u{20,}"),
    ("Facebook", r"EAA[A-Z]%b{80,}"),
    ("X", r"AAAAAAAAAAAAAAAAAAAAA[A-Za-z0-9%]{60,}"),
    ("Adafruit, Frame.io, Zapier", r"aio_%b{28}"),
    ("Adafruit, Frame.io, Zapier", r"fio-u-%u{64}"),
    ("Adobe", r"p8e-[a-z0-9]{32}"),
)  # fmt: skip
"""Vendor, and shape: a regular expression in which `%h` is a hexadecimal digit, `%b` a letter or
digit, and `%u` one of these, `-` or `_`."""

_SIGNS = {"%h": "[0-9a-f]", "%b": "[A-Za-z0-9]", "%u": r"[\w-]"}
_SHAPES = re.sub("%[hbu]", lambda sign: _SIGNS[sign[0]], "|".join(shape for _, shape in VENDORS))
_ANY = re.compile(rf"(?<![A-Za-z0-9])(?:{_SHAPES})")
_RUN = re.compile(r"[\w-]{10,}")
_MIXTURE = re.compile(r"[0-9]|[a-z][A-Z]")
_MIN_LENGTH = 16


def find_vendor_keys(piece: Piece) -> Iterator[Finding]:
    """Keys of the vendors in the table.

    Looks only at words of 16 characters and more: running the table over all text would take ten
    times as long (scripts/benches/scrubbing.py).
    """
    flat = piece.text.replace('"', " ").replace(",", " ")  # JSON without spaces has words, too
    words = flat.split()
    found = {}
    for word in {word for word in words if len(word) >= _MIN_LENGTH}:
        spans = [match.span() for match in _ANY.finditer(word)] if _is_suspect(word) else []
        if spans:
            found[word] = spans
    place = 0
    for word in words if found else ():
        place = flat.index(word, place)
        for start, end in found.get(word, ()):
            yield Finding(kind="api_key", start=place + start, end=place + end)
        place += len(word)


def _is_suspect(word: str) -> bool:
    """Whether a part of it mixes digits or capitals in, as keys do and paths of pages do not."""
    return any(map(_MIXTURE.search, _RUN.findall(word)))
