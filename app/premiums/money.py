"""Money as integer minor units, with each currency's own number of decimals (ISO 4217)."""

from decimal import Decimal

_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD "
    "CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD "
    "GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD "
    "MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP "
    "PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS "
    "TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_OF = {code: decimals for decimals, codes in _DECIMALS.items() for code in codes.split()}


def is_known(currency: str) -> bool:
    return currency in _OF


def decimals(currency: str) -> int:
    """How many a currency has: CNY 2, JPY 0. Raises KeyError for one that is not money."""
    return _OF[currency]


def minor(amount: Decimal, currency: str) -> int:
    """Major units as minor ones: 24.00 CNY is 2400. Raises ValueError for a fraction of one."""
    exact = amount.scaleb(decimals(currency))
    if exact != exact.to_integral_value():
        raise ValueError(f"{amount} {currency} has more than {decimals(currency)} decimals")
    return int(exact)


def major(amount: int, currency: str) -> Decimal:
    """Minor units as major ones, with all of the currency's decimals: 2400 CNY is 24.00."""
    return Decimal(amount).scaleb(-decimals(currency))


def text(amount: int, currency: str) -> str:
    """Minor units for a sentence: `2,400.00 CNY`."""
    return f"{major(amount, currency):,} {currency}"
