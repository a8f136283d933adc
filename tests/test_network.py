"""What is derived from a network: the two ends of a link agree, and no two sites overlap, whatever the network."""

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Network
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from steps.certificates.certificate_options import Certificates
from steps.ipsec.ipsec_options import Ipsec
from steps.network import ANY_ADDRESS, End, Link, Network, Site

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine breaks no law
LABELS = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
PREFIXES = (
    st.binary(min_size=5, max_size=5)
    .filter(lambda global_id: len(set(global_id)) > 1)
    .map(lambda global_id: IPv6Network((b"\xfd" + global_id + bytes(10), 48)))
)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Any valid network: the first site, which has both families, is linked to all others, and they in any way.

    Or it is the hub through which they reach one another.
    """
    names = draw(st.lists(LABELS, min_size=2, max_size=5, unique=True))
    ids = draw(st.lists(st.integers(1, 0xFFFF), min_size=2 * len(names) + 1, max_size=2 * len(names) + 1, unique=True))
    sites = {}
    for number, (name, subnet_id) in enumerate(zip(names, ids[1::2], strict=True), start=1):
        both = (IPv4Address(f"192.0.2.{number}"), IPv6Address(f"2001:db8::{number}"))
        addresses = both if number == 1 else draw(st.sampled_from([(), both, both[::-1], both[:1]]))
        more = draw(st.lists(st.sampled_from((ids[2 * number], IPv4Interface(f"10.0.{number}.1/24"))), unique=True))
        fqdn = f"{name}.example.org"
        sites[name] = Site(name, f"ssh-{name}", fqdn, addresses, subnet_id, "eth0", more_subnets=tuple(more))
    links = []
    hub = names[0] if len(names) > 2 and draw(st.booleans()) else ""
    spokes = names[1:] if hub else []
    links += [Link((hub, each), each if sites[each].dynamic else hub, hub) for each in spokes]
    for one, other in () if hub else combinations(names, 2):
        dynamic = sites[one].dynamic and sites[other].dynamic
        if one == names[0] or (not dynamic and draw(st.booleans())):
            between = draw(st.permutations([one, other]))
            links.append(Link((between[0], between[1]), draw(st.sampled_from(between))))
    assume(len({link.name for link in links}) == len(links))
    certificates = Certificates("letsencrypt-staging", "hostmaster@example.org", agree_to_terms=True)
    return Network(draw(PREFIXES), ids[0], None, certificates, Ipsec(), sites, tuple(links), Path("/etc"))


def all_ends(network: Network) -> list[End]:
    return [end for site in network.sites.values() for end in network.ends(site)]


@UNHURRIED
@given(networks())
def test_what_one_end_calls_remote_the_other_calls_local(network: Network) -> None:
    for link in network.links:
        one, other = network.link_ends(link)
        assert one.remote_ts == other.local_ts
        assert other.remote_ts == one.local_ts
        assert not set(one.local_ts) & set(one.remote_ts)


@UNHURRIED
@given(networks())
def test_every_other_site_is_reached_in_one_way_through_a_hub_and_in_none_without_a_link(network: Network) -> None:
    for site in network.sites.values():
        reached = [each for end in network.ends(site) for each in end.remote_ts]
        assert len(set(reached)) == len(reached)
        linked = {end.there.name for end in network.ends(site)}
        if any(link.hub for link in network.links):
            linked = network.sites.keys() - {site.name}
        assert set(reached) == {each for name in linked for each in network.selectors(network.sites[name])}


@UNHURRIED
@given(networks())
def test_the_ends_at_the_sites_are_the_ends_of_the_links(network: Network) -> None:
    at_sites = all_ends(network)
    assert len(at_sites) == 2 * len(network.links)
    assert set(at_sites) == {end for link in network.links for end in network.link_ends(link)}


@UNHURRIED
@given(networks())
def test_nothing_overlaps_and_all_lies_in_the_prefix(network: Network) -> None:
    sites = network.sites.values()
    own = [each.network for site in sites for each in network.own_addresses(site)]
    for one, other in combinations([*own, network.link_network], 2):
        assert one.version != other.version or not one.overlaps(other)
    ula = [each for each in own if isinstance(each, IPv6Network)]
    assert all(subnet.prefixlen == 64 and subnet.subnet_of(network.prefix) for subnet in ula)
    assert len({network.link_address(site) for site in sites}) == len(sites)


@UNHURRIED
@given(networks())
def test_each_site_can_be_reached_at_its_addresses_through_each_of_its_links(network: Network) -> None:
    for end in all_ends(network):
        for address in network.inner_addresses(end.there):
            assert sum(address in selector for selector in end.remote_ts) == 1
        assert network.link_address(end.there) in network.link_network
        assert network.link_address(end.there) != network.link_network[0]


@UNHURRIED
@given(networks())
def test_one_end_initiates_and_connections_at_a_site_have_names_of_their_own(network: Network) -> None:
    for link in network.links:
        assert [end.here.name for end in network.link_ends(link) if end.initiates] == [link.initiator]
    for site in network.sites.values():
        connections = [end.connection for end in network.ends(site)]
        assert len(set(connections)) == len(connections) > 0


@UNHURRIED
@given(networks())
def test_a_peer_is_spoken_to_where_it_is_or_by_its_name(network: Network) -> None:
    for end in all_ends(network):
        if end.there.dynamic:
            assert end.remote_addrs == (end.there.fqdn, ANY_ADDRESS)
        else:
            assert end.remote_addrs == tuple(map(str, end.there.addresses))
            assert ANY_ADDRESS not in end.remote_addrs
        assert end.local_addrs == (tuple(map(str, end.here.addresses)) or (ANY_ADDRESS,))


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
        ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
        ("https://ca.example.org/dir", "https://ca.example.org/dir"),
    ],
)
def test_the_acme_directory_has_a_url_whichever_way_it_is_written(written: str, url: str) -> None:
    assert Certificates(written, "hostmaster@example.org", agree_to_terms=True).directory_url == url
