using System.Formats.Asn1;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Gateway.Tests.Harness;
using Gateway.Tunnels;

namespace Gateway.Tests.Fuzzing;

/// <summary>Whatever the file of revoked certificates holds: it is read, or refused as what it is.</summary>
[Collection(nameof(Alone))]
public sealed class RevocationTests
{
    private const string EcdsaWithSha256 = "1.2.840.10045.4.3.2";

    [Fact]
    public void A_revocation_list_is_read_or_refused()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var authority = new CertificateRequest("CN=a", key, HashAlgorithmName.SHA256).CreateSelfSigned(DateTimeOffset.UtcNow, DateTimeOffset.UtcNow.AddDays(1));
        var authorities = new X509Certificate2Collection(authority);
        var inputs = 0;
        Fuzzer.Run("revocations", bytes =>
        {
            // Both the file, and what somebody who has the authority's key has signed. A signature takes longer than all else:
            // most inputs have none, and one in fifty has it made and checked.
            var isSigned = inputs++ % 50 == 0;
            foreach (var file in new[] { bytes, Sign(bytes, authority, isSigned ? key : null) })
            {
                try
                {
                    Assert.NotEmpty(isSigned ? RevocationList.ReadAll(file, authorities) : RevocationList.ReadAll(file, Believe));
                }
                catch (CryptographicException exception)
                {
                    Assert.NotEmpty(exception.Message);
                }
            }
        });
    }

    private static void Believe(ReadOnlySpan<byte> signed, byte[] signature, string algorithm, byte[] issuer) => Assert.NotEmpty(issuer);

    // RFC 5280 section 5.1; the input is what follows the issuer.
    private static byte[] Sign(byte[] rest, X509Certificate2 authority, ECDsa? key)
    {
        static void Algorithm(AsnWriter writer)
        {
            using (writer.PushSequence())
            {
                writer.WriteObjectIdentifier(EcdsaWithSha256);
            }
        }

        // A sequence whose content need not be well-formed: its head is written by hand.
        var issuer = new AsnWriter(AsnEncodingRules.DER);
        issuer.WriteInteger(1);
        Algorithm(issuer);
        issuer.WriteEncodedValue(authority.SubjectName.RawData);
        var signed = Sequence([.. issuer.Encode(), .. rest]);
        var signature = new AsnWriter(AsnEncodingRules.DER);
        Algorithm(signature);
        signature.WriteBitString(key?.SignData(signed, HashAlgorithmName.SHA256, DSASignatureFormat.Rfc3279DerSequence) ?? []);
        return Sequence([.. signed, .. signature.Encode()]);
    }

    private static byte[] Sequence(byte[] content) => content.Length switch
    {
        < 0x80 => [0x30, (byte)content.Length, .. content],
        < 0x100 => [0x30, 0x81, (byte)content.Length, .. content],
        _ => [0x30, 0x82, (byte)(content.Length >> 8), (byte)content.Length, .. content],
    };
}
