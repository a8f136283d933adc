"""What of nginx's configuration is the admin's own, by a real awk over what `nginx -T` prints; and what follows."""

from __future__ import annotations

import subprocess

import pytest

from steps.webserver.nginx_sites import CONF, INCLUDED, SURVEY, Server, of_name, servers, sockets


def found(listing: str, shipped: str = "") -> list[Server]:
    """What is made of a configuration that nginx prints so."""
    script = f"nginx() {{ cat; }}\n{SURVEY}\nnginx_servers"
    said = subprocess.run(["sh", "-c", script], input=listing, capture_output=True, text=True, check=True)
    assert said.stderr == ""
    return servers({"web_servers": f"[{said.stdout}]", "web_shipped": shipped})


def file(text: str, path: str = "/etc/nginx/conf.d/mine.conf") -> str:
    return f"# configuration file {path}:\n{text}\n"


SITE = """\
server {
    listen 80;
    listen [::]:80;
    server_name www.example.org example.org;
    location / { return 200 "a } in a string; { and"; }
}
"""


def test_a_server_is_seen_with_its_file_line_sockets_and_names() -> None:
    (server,) = found(file(SITE))
    assert server == Server(
        "/etc/nginx/conf.d/mine.conf",
        4,
        6,
        ("80", "[::]:80"),
        ("www.example.org", "example.org"),
        both=False,
        ours=False,
    )


@pytest.mark.parametrize(
    ("listen", "seen"),
    [
        ("80", "80"),
        ("*:80", "*:80"),
        ("192.0.2.1:80 default_server", "192.0.2.1:80"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("localhost:80", "localhost:80"),
        ("443 ssl", None),
        ("[::]:8080", None),
        ("unix:/run/x.sock", None),
    ],
)
def test_only_what_listens_on_port_80_shares_it_with_us(listen: str, seen: str | None) -> None:
    assert [each.sockets for each in found(file(f"server {{ listen {listen}; }}"))] == ([(seen,)] if seen else [])


def test_a_server_that_says_nothing_listens_on_port_80() -> None:
    assert [each.sockets for each in found(file("server { server_name a.example; }"))] == [("80",)]


def test_what_is_in_comments_strings_and_other_blocks_is_no_server() -> None:
    text = """\
# server { listen 80; }
upstream u { server 192.0.2.1:80; }
map $a $b { default "server { listen 80; }"; }
types { text/html html; }
"""
    assert found(file(text)) == []


def test_ours_and_what_the_package_brought_are_nobody_elses() -> None:
    listing = file(SITE, CONF) + file(SITE, "/etc/nginx/sites-enabled/default")
    assert found(listing, "/etc/nginx/sites-available/default") == []
    assert [each.file for each in found(listing)] == ["/etc/nginx/sites-enabled/default"]


def test_one_that_includes_the_challenges_is_known_by_it() -> None:
    (server,) = found(file(SITE.replace("location", f"include {INCLUDED}; # managed\n    location")))
    assert server.ours


def test_a_file_that_ends_in_the_middle_spoils_no_other() -> None:
    assert [each.file for each in found(file("server { listen 80;", "/etc/a") + file(SITE, "/etc/b"))] == ["/etc/b"]


def test_we_listen_everywhere_and_wherever_they_are_more_specific() -> None:
    others = found(file("server { listen 192.0.2.1:80; listen *:80; }") + file("server { listen 80; }"))
    assert sockets(others, ["192.0.2.9:80"]) == ["80", "[::]:80", "192.0.2.9:80", "192.0.2.1:80"]
    both = found(file("server { listen [::]:80 ipv6only=off; }"))
    assert sockets(both, []) == ["[::]:80"]


def test_the_one_of_our_name_is_found_by_its_whole_name() -> None:
    others = found(file(SITE))
    assert of_name(others, "example.org") == others[0]
    assert of_name(others, "ample.org") is None
