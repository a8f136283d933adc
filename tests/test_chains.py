"""Chains: the good one is found in any order, and a bad one is refused for the one thing that is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from made_pki import AT, DAY, HOME, KEY, PRINT, Cross, World, issue

from steps import pki
from steps.certificates import chains

if TYPE_CHECKING:
    from collections.abc import Sequence

OTHER_KEY: Final = pki.new_key()
quick = settings(deadline=None, max_examples=60)
GOOD: Final = World()
STRANGER: Final = World()


def verify(certs: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], fqdn: str = HOME) -> chains.Chain:
    return chains.verify_chain(certs, anchors, fqdn, PRINT, AT)


@quick
@given(data=st.data())
def test_any_order_and_any_surplus_gives_the_same_chain(data: st.DataObject) -> None:
    surplus = data.draw(st.lists(st.sampled_from([GOOD.root, *STRANGER.all()[1:], STRANGER.root, GOOD.one])))
    certs = data.draw(st.permutations(GOOD.all() + surplus))
    anchors = data.draw(st.permutations([GOOD.root, *chains.builtin_anchors()]))
    assert verify(certs, anchors) == chains.Chain(GOOD.leaf, (GOOD.one, GOOD.two), GOOD.root)


@pytest.mark.parametrize("length", [0, 1, 5, 12])
def test_a_chain_may_have_any_length(length: int) -> None:
    root = issuer = issue("Root", None)
    between: list[x509.Certificate] = []
    for number in range(length):
        issuer = issue(f"CA {number}", issuer)
        between.insert(0, issuer.cert)
    leaf = issue(HOME, issuer, ca=False, names=[HOME], key=pki.load_key(KEY)).cert
    assert verify([leaf, *between], [root.cert]) == chains.Chain(leaf, tuple(between), root.cert)


def test_an_empty_subject_with_a_critical_alternative_name_is_good() -> None:
    world = World(leaf={"subject": ""})
    assert verify(world.all(), [world.root]).leaf == world.leaf


def test_names_are_compared_without_regard_to_case() -> None:
    world = World(leaf={"names": ["Home.Example.test"]})
    assert verify(world.all(), [world.root], "hOME.example.TEST").leaf == world.leaf


STRANGE_KEY: Final = ec.generate_private_key(ec.SECP256R1())
NO_TEST_NAMES: Final = x509.NameConstraints(permitted_subtrees=None, excluded_subtrees=[x509.DNSName("example.test")])
PAST: Final = {"after": AT - DAY}
FUTURE: Final = {"before": AT + DAY}


@pytest.mark.parametrize(
    ("otherwise", "sentence"),
    [
        ({"leaf": {"names": ["vps4.example.test"]}}, "is for vps4.example.test, so it was not issued for home.exam"),
        (
            {"leaf": {"names": ["*.example.test"]}},
            r"is for \*.example.test, so it was not issued for home.example.test",
        ),
        ({"leaf": {"names": []}}, "has no subjectAltName .its common name does not count., so it was not issued"),
        ({"leaf": {"key": pki.load_key(OTHER_KEY)}}, f"is for another key: .* the site's is {PRINT}"),
        ({"leaf": PAST}, "the certificate for home.example.test expired on 2026-10-31 12:00 UTC"),
        ({"leaf": FUTURE}, "the certificate for home.example.test is not valid before 2026-11-02 12:00 UTC"),
        ({"leaf": {"ca": True}}, "is a CA's"),
        ({"leaf": {"forger": STRANGE_KEY}}, "the signature on 'home.example.test' is not that of 'One'"),
        ({"One": {"forger": STRANGE_KEY}}, "the signature on 'One' is not that of 'Two'"),
        ({"Two": {"forger": STRANGE_KEY}}, "the signature on 'Two' is not that of 'Root'"),
        ({"One": PAST}, "the CA certificate 'One' expired on 2026-10-31"),
        ({"Two": FUTURE}, "the CA certificate 'Two' is not valid before 2026-11-02"),
        ({"Root": PAST}, "the CA certificate 'Root' expired on 2026-10-31"),
        ({"One": {"ca": False}}, "its issuer 'One' is not a CA"),
        ({"Two": {"usage": pki.SIGNING_ONLY}}, "its issuer 'Two' is not a CA"),
        ({"Two": {"path_length": 0}}, "the CA 'Two' allows 0 CAs below itself, and there are 1"),
        ({"Two": {"extensions": [NO_TEST_NAMES]}}, "breaks the rules of RFC 5280"),
    ],
)
def test_one_thing_broken_is_the_one_thing_said(otherwise: dict[str, Any], sentence: str) -> None:
    world = World(**otherwise)
    with pytest.raises(pki.CertificateError, match=sentence) as caught:
        verify(world.all(), [world.root])
    assert "\n" not in str(caught.value)


def test_a_missing_issuer_is_named_with_what_was_looked_through() -> None:
    with pytest.raises(pki.CertificateError, match=r"ends in 'One', whose issuer 'Two' is missing: .*'Root'"):
        verify([GOOD.leaf, GOOD.one], [GOOD.root])
    with pytest.raises(pki.CertificateError, match=r"ends in 'home.example.test', whose issuer 'One' is missing"):
        verify([GOOD.leaf, GOOD.two], [GOOD.root])


def test_a_root_that_is_no_anchor_is_named_beside_the_anchors() -> None:
    anchors = chains.builtin_anchors()
    names = r"\('ISRG Root X1', 'ISRG Root X2'\)"
    with pytest.raises(pki.CertificateError, match=f"ends in 'Root', which is none of the trust anchors {names}"):
        verify([*GOOD.all(), GOOD.root], anchors)
    with pytest.raises(pki.CertificateError, match=f"ends in 'Two', whose issuer 'Root' is missing: .* {names}"):
        verify(GOOD.all(), anchors)


def test_an_anchor_that_only_has_the_name_does_not_do() -> None:
    with pytest.raises(pki.CertificateError, match="the signature on 'Two' is not that of 'Root'"):
        verify(GOOD.all(), [STRANGER.root])


def test_no_certificate_at_all_is_no_certificate() -> None:
    with pytest.raises(pki.CertificateError, match="holds nothing"):
        verify([], [GOOD.root])


def test_of_two_certificates_for_the_key_the_newest_good_one_is_taken() -> None:
    root = issue("Root", None)
    old, new, expired = (
        issue(HOME, root, ca=False, names=[HOME], key=pki.load_key(KEY), **dates).cert
        for dates in ({}, {"before": AT - DAY}, {"before": AT - 3 * DAY / 2, "after": AT - DAY})
    )
    assert verify([expired, old], [root.cert]).leaf == old
    assert verify([old, expired, new], [root.cert]).leaf == new


def test_a_cross_signed_root_ends_in_whichever_anchor_is_given_and_the_nearer_of_both() -> None:
    cross = Cross()
    far = chains.Chain(cross.leaf, (*cross.below, cross.x2_by_x1), cross.x1)
    near = chains.Chain(cross.leaf, cross.below, cross.x2)
    assert verify(cross.sent, [cross.x1]) == far
    assert verify(cross.sent, [cross.x2]) == near
    assert verify(cross.sent, [cross.x1, cross.x2]) == verify(cross.sent, [cross.x2, cross.x1]) == near


def test_cas_that_sign_each_other_do_not_loop() -> None:
    a, b = issue("A", None), issue("B", None)
    a_by_b, b_by_a = issue("A", b, key=a.key), issue("B", a, key=b.key)
    leaf = issue(HOME, a_by_b, ca=False, names=[HOME], key=pki.load_key(KEY)).cert
    with pytest.raises(pki.CertificateError, match="cannot be trusted: its chain ends in"):
        verify([leaf, a_by_b.cert, b_by_a.cert], [GOOD.root])
    assert verify([leaf, a_by_b.cert, b_by_a.cert], [b.cert]).intermediates == (a_by_b.cert,)


def test_a_tangle_of_cross_signing_comes_to_an_end() -> None:
    issuer = issue("CA 0", None)
    tangle = [issuer.cert]
    for number in range(1, 30):  # two certificates for the same name and key at each turn: 2^29 ways up
        one = issue(f"CA {number}", issuer)
        two = issue(f"CA {number}", issuer, key=one.key)
        tangle += [one.cert, two.cert]
        issuer = one
    leaf = issue(HOME, issuer, ca=False, names=[HOME], key=pki.load_key(KEY)).cert
    with pytest.raises(pki.CertificateError, match="ends in 'CA 0', which is none of the trust anchors"):
        verify([leaf, *tangle], [GOOD.root])


def test_of_all_that_a_ca_offers_what_leads_to_an_anchor_is_taken() -> None:
    cross = Cross()
    offered = [*cross.sent, cross.leaf, *cross.below]
    assert verify(offered, [cross.x2]).anchor == cross.x2
    assert verify(offered, [cross.x1]).anchor == cross.x1
    with pytest.raises(pki.CertificateError, match=r"'X1' is missing"):
        verify(offered, [GOOD.root])
