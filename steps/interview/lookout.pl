# Looks on for some seconds: which of the marked connections to a port arrive here, and a word for who asks for it.
# perl - SECONDS PORT PATH WORD END MARK...; says "ready" on standard error, then prints each mark that has arrived.
# It is over when a connection marked with END arrives.
use strict;
use warnings;
use Socket;

my ($seconds, $port, $path, $word, $last, @marks) = @ARGV;
my %wanted = map { $_ => 1 } @marks;
my $over;
$| = 1;
$SIG{PIPE} = 'IGNORE';
alarm $seconds + 5;    # whatever happens

# packet(7): all that arrives, from the network header on, before any firewall
my $tap;
undef $tap unless socket $tap, 17, SOCK_DGRAM, unpack 'S', pack 'n', 3;
print "blind\n" unless $tap;

# both families (ipv6(7)), else IPv4 alone; nothing where somebody listens already
my $listener;
if (socket $listener, AF_INET6, SOCK_STREAM, 6) {
    setsockopt $listener, SOL_SOCKET, SO_REUSEADDR, 1;
    setsockopt $listener, 41, 26, pack 'i', 0;
    undef $listener unless bind($listener, pack_sockaddr_in6($port, "\0" x 16)) && listen($listener, 16);
}
elsif (socket $listener, AF_INET, SOCK_STREAM, 6) {
    setsockopt $listener, SOL_SOCKET, SO_REUSEADDR, 1;
    undef $listener unless bind($listener, pack_sockaddr_in($port, INADDR_ANY)) && listen($listener, 16);
}
print STDERR "ready\n";

my (%asked, %clients);
my $end = time + $seconds;
while ((my $left = $end - time) > 0 && !$over) {
    my $bits = '';
    for my $each (grep { $_ } $tap, $listener, values %clients) { vec($bits, fileno $each, 1) = 1 }
    select $bits, undef, undef, $left;
    my $packet;
    arrived($packet) if $tap && vec($bits, fileno $tap, 1) && defined recv $tap, $packet, 256, 0;
    if ($listener && vec $bits, fileno $listener, 1) {
        if (accept my $client, $listener) { $clients{ fileno $client } = $client }
    }
    for my $number (keys %clients) {
        next unless vec $bits, $number, 1;
        my $client = $clients{$number};
        my $got = sysread $client, my $more, 4096;
        $asked{$number} = ($asked{$number} // '') . ($more // '') if $got;
        my $whole = ($asked{$number} // '') =~ /\n/ || length($asked{$number} // '') > 8192;
        next if $got && !$whole;
        if (($asked{$number} // '') =~ m{^GET \Q$path\E }) {
            syswrite $client, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n$word";
        }
        delete $asked{$number};
        delete $clients{$number};
        shutdown $client, 2;
        close $client;
    }
}

# A first packet of TCP (SYN, no ACK) to the port, with one of the marks as its segment size (RFC 9293, 3.1).
sub arrived {
    my ($packet) = @_;
    return if length $packet < 40;
    my ($version, $next_of_6, $next_of_4) = unpack 'C x5 C x2 C', $packet;
    my ($next, $at) = $version >> 4 == 4 ? ($next_of_4, ($version & 15) * 4) : ($next_of_6, 40);
    return unless $next == 6 && length $packet >= $at + 20;
    my ($to, $words, $flags) = unpack "x$at x2 n x8 C C", $packet;
    return unless $to == $port && ($flags & 0x12) == 2;
    my @options = unpack 'C*', substr $packet, $at + 20, ($words >> 4) * 4 - 20;
    while (defined(my $kind = shift @options)) {
        last if $kind == 0;
        next if $kind == 1;
        my $length = shift @options // 2;
        my @value = splice @options, 0, $length - 2;
        next unless $kind == 2 && @value == 2;
        my $size = $value[0] * 256 + $value[1];
        print "$size\n" if delete $wanted{$size};
        $over = 1 if $size == $last;
    }
}
