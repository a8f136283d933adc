"""The article's own files, as it gives them, for hosts that were set up by hand from it: vps4's, but where said."""

from __future__ import annotations

from typing import Final

IPTABLES: Final = """\
### IPsec ###
#
-A INPUT -m policy --dir in --pol ipsec --mode tunnel -j ACCEPT
-A OUTPUT -m policy --dir out --pol ipsec --mode tunnel -j ACCEPT
# ESP encrypton and authentication
-A INPUT  -p 50 -j ACCEPT
-A OUTPUT -p 50 -j ACCEPT
# uncomment for AH authentication header
# -A INPUT  -p 51 -j ACCEPT
# -A OUTPUT -p 51 -j ACCEPT
# IKE negotiations
-A INPUT  -p udp --sport 500 --dport 500 -j ACCEPT
-A OUTPUT -p udp --sport 500 --dport 500 -j ACCEPT
# NAT-T
-A INPUT -p udp --sport 4500 --dport 4500 -j ACCEPT
-A OUTPUT -p udp --sport 4500 --dport 4500 -j ACCEPT
"""
"""What it has added to iptables.save."""

NGINX: Final = """\
server {
	listen 80 default_server;
#	listen 443 ssl http2 default_server;
	listen 185.133.75.14:80 default_server;
#	listen 185.133.75.14:443 ssl http2 default_server;
	server_name _ "";
#	include /etc/nginx/includes/web.johncook.co.uk-ssl;

	location ~ (/.well-known/acme-challenge/) {
		return 307 http://sip.johncook.co.uk$request_uri;
	}

	location / {
		return 444;
	}
}
"""
"""/etc/nginx/sites-enabled/default_server.conf."""

_DEFAULT: Final = """\
config setup

conn %default
	ikelifetime = 60m
	keylife = 20m
	rekeymargin = 3m
	keyingtries = 1
	keyexchange = ikev2
	mobike = no
	ike = aes256gcm16-prfsha384-ecp384,aes128gcm16-prfsha256-ecp256!
"""
CONF: Final = f"""\
{_DEFAULT}\
	esp = aes256gcm16-ecp384,aes128gcm16-ecp256!

conn ula-net-home
	left = 185.133.75.14
	leftsubnet = fdd7:5938:e2e6:8e71::/64,fdd7:5938:e2e6:3::8e71/128
	leftcert = /etc/ssl/vps4.johncook.co.uk/vps4_johncook_co_uk.chained.pem
	leftauth = pubkey
	leftid = @vps4.johncook.co.uk
	leftsendcert = always
	leftfirewall = yes
	right = home.johncook.co.uk
	rightsubnet = fdd7:5938:e2e6:1::/64,fdd7:5938:e2e6:3::1/128
	rightauth = pubkey
	rightid = @home.johncook.co.uk
	auto = route
	type = tunnel
"""
"""/etc/ipsec.conf on vps4."""

HOME_CONF: Final = f"""\
{_DEFAULT}\
	esp = aes128gcm16-ecp256!
#	esp = aes256gcm16-ecp384,aes128gcm16-ecp256!

conn ula-net-vps4
	left = %any
	leftsubnet = fdd7:5938:e2e6:1::/64,fdd7:5938:e2e6:3::1/128
	leftcert = /etc/ssl/home.johncook.co.uk/home_johncook_co_uk.chained.pem
	leftauth = pubkey
	leftid = @home.johncook.co.uk
	leftsendcert = always
	leftfirewall = yes
	right = 185.133.75.14
	rightsubnet = fdd7:5938:e2e6:8e71::/64,fdd7:5938:e2e6:3::8e71/128
	rightauth = pubkey
	rightid = @vps4.johncook.co.uk
	auto = route
	type = tunnel
"""
"""The same on home."""

SECRETS: Final = ": ECDSA /etc/ssl/vps4.johncook.co.uk/vps4_johncook_co_uk.key1\n"
"""/etc/ipsec.secrets."""

APPARMOR: Final = """\
	/etc/ssl/LetsEncrypt/** r,
	/etc/ssl/vps4.johncook.co.uk/vps4_johncook_co_uk.key* r,
	/etc/ssl/vps4.johncook.co.uk/vps4_johncook_co_uk.chained.pem	r,
"""
"""/etc/apparmor.d/local/usr.lib.ipsec.charon."""

INTERFACE: Final = "up ip addr add fdd7:5938:e2e6:3::8e71/128 dev eth0\n"
"""What it has added to eth0 in /etc/network/interfaces."""

CA_LINKS: Final = {
    "DST_Root_CA_X3.pem": "/etc/ssl/certs/DST_Root_CA_X3.pem",
    "isrgrootx1.pem": "/etc/ssl/LetsEncrypt/isrgrootx1.pem",
    "letencrypt-x3-cross-signed.pem": "/etc/ssl/LetsEncrypt/lets-encrypt-x3-cross-signed.pem",
    "letencrypt-x4-cross-signed.pem": "/etc/ssl/LetsEncrypt/lets-encrypt-x4-cross-signed.pem",
}
"""In /etc/ipsec.d/cacerts."""
