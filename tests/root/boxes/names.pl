# A name server that knows one name: usage: perl names.pl ADDRESS NAME ITS-ADDRESS. UDP and TCP, one question at a time.
use strict;
use IO::Select;
use IO::Socket::INET;
my ($address, $name, $its) = @ARGV;
my $labels = join('', map { chr(length) . $_ } split(/\./, $name)) . "\0";

sub answer {
    my ($question) = @_;
    my $end = index($question, "\0", 12) + 5;
    my $is_known = substr($question, 12, $end - 16) eq $labels;
    my $is_address = unpack('n', substr($question, $end - 4, 2)) == 1;
    my $record = $is_known && $is_address ? pack('n n n N n C4', 0xc00c, 1, 1, 60, 4, split(/\./, $its)) : '';
    my $flags = $is_known ? 0x8180 : 0x8183;
    return substr($question, 0, 2) . pack('n5', $flags, 1, $record eq '' ? 0 : 1, 0, 0) . substr($question, 12, $end - 12) . $record;
}

my %at = (LocalAddr => $address, LocalPort => 53);
my $udp = IO::Socket::INET->new(%at, Proto => 'udp') or die "udp: $!";
my $tcp = IO::Socket::INET->new(%at, Proto => 'tcp', Listen => 8, ReuseAddr => 1) or die "tcp: $!";
$| = 1;
print "ready\n";
while (1) {
    for my $socket (IO::Select->new($udp, $tcp)->can_read) {
        my $question;
        if ($socket == $udp) {
            $udp->recv($question, 4096) // next;
            $udp->send(answer($question));
            print "udp\n";
        } else {
            my $peer = $tcp->accept or next;
            $peer->read($question, 2) == 2 or next;
            $peer->read($question, unpack('n', $question)) or next;
            my $answer = answer($question);
            print $peer pack('n', length $answer) . $answer;
            print "tcp\n";
        }
    }
}
