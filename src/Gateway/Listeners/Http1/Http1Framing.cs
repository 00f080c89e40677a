using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace Gateway.Listeners.Http1;

/// <summary>
/// Follows the framing of the requests on one HTTP/1.1 connection (RFC 9112) and stops at the first byte that two
/// readers could understand differently. It reads, it never repairs: the bytes stay the parser's.
/// </summary>
/// <remarks>
/// The result does not depend on how the bytes are cut into spans. Nothing is allocated before a violation but what
/// Connection fields need.
/// An instance belongs to one connection and is not thread safe.
/// </remarks>
internal sealed class Http1Framing
{
    // RFC 9112 7.1.1 asks a recipient to limit the length of chunk extensions.
    private const int MaxChunkLine = 4096;
    private const int MaxChunkSizeDigits = 16;
    private const int MaxConnectionValue = 4096;

    // RFC 9110 5.6.2.
    private static readonly SearchValues<byte> TokenBytes =
        SearchValues.Create("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"u8);

    // Everything RFC 9110 5.5 keeps out of a field value: the C0 controls but HTAB, and DEL.
    private static readonly SearchValues<byte> ControlBytes = SearchValues.Create(
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127]);

    private State _state;
    private ValuePart _part;
    private ExtensionPart _extension;
    private bool _isPreface;
    private bool _http10;
    private bool _hasHost;
    private bool _hasTransferEncoding;
    private bool _endsHttp;
    private bool _inTrailers;
    private bool _inConnection;
    private List<byte>? _connection;
    private int _matched;
    private int _chunkLine;
    private long _contentLength = -1;
    private long _remaining;

    // The start of the method, of the version or of the field name, for when it is cut between two spans.
    private Token _token;
    private int _tokenLength;

    private enum State : byte
    {
        MessageStart,
        EmptyLineLf,
        RequestLine,
        Method,
        TargetStart,
        Target,
        Version,
        RequestLineCr,
        RequestLineLf,
        FieldStart,
        FieldName,
        FieldValue,
        ContentLengthValue,
        TransferEncodingValue,
        FieldLf,
        SectionLf,
        Body,
        ChunkSizeStart,
        ChunkSize,
        ChunkExtension,
        ChunkLineLf,
        ChunkData,
        ChunkDataCr,
        ChunkDataLf,
        Opaque,
        Refused,
    }

    private enum ExtensionPart : byte
    {
        BeforeName,
        Name,
        AfterName,
        BeforeValue,
        Value,
        Quoted,
        Escaped,
        AfterValue,
        AfterSpace,
        End,
    }

    private enum ValuePart : byte
    {
        Before,
        Inside,
        After,
    }

    /// <summary>The rule that was broken, or null. It never holds bytes of the client but a field name that is a token.</summary>
    public string? Violation { get; private set; }

    /// <summary>How many bytes were observed.</summary>
    public long Position { get; private set; }

    /// <summary>The position of the first byte of the current message, which is the refused one after a violation.</summary>
    public long MessageStart { get; private set; }

    /// <summary>The position after the head of the current message; <see cref="long.MaxValue"/> until the head has ended.</summary>
    public long BodyStart { get; private set; } = long.MaxValue;

    /// <summary>The position from which on nothing is validated; <see cref="long.MaxValue"/> while there is none.</summary>
    public long OpaqueStart { get; private set; } = long.MaxValue;

    /// <summary>
    /// Whether the head of the current message asked for another protocol or a tunnel (RFC 9110 7.8 and 9.3.6), so
    /// that what follows the message can't be known to be HTTP/1.1 and no request may be served from it.
    /// </summary>
    public bool LastRequest { get; private set; }

    /// <summary>
    /// The Connection fields of messages, joined by commas, in the order of the messages. The server keeps of them no more
    /// than what it understands itself, and with it loses the names that a forwarder has to heed (RFC 9110 7.6.1).
    /// </summary>
    public Queue<ConnectionOptions> Connections { get; } = new(0);

    /// <summary>Observes the next bytes of the connection.</summary>
    /// <param name="bytes">The bytes that follow those observed before.</param>
    /// <returns>False once there is a <see cref="Violation"/>.</returns>
    public bool Observe(ReadOnlySpan<byte> bytes)
    {
        var i = 0;
        while (i < bytes.Length)
        {
            switch (_state)
            {
                case State.MessageStart:
                    // RFC 9112 2.2: at least one empty line before the request line should be ignored. One is.
                    if (bytes[i] == '\r')
                    {
                        i++;
                        _state = State.EmptyLineLf;
                    }
                    else
                    {
                        _state = State.RequestLine;
                    }

                    break;

                case State.EmptyLineLf:
                    Expect(bytes[i++], (byte)'\n', State.RequestLine, "bare CR before the request line");
                    break;

                case State.RequestLine:
                    _tokenLength = 0;
                    _state = State.Method;
                    if (bytes[i] is (byte)'\r' or (byte)'\n' or (byte)' ')
                        Refuse("empty line or space where a request line has to start");
                    break;

                case State.Method:
                    i += TakeToken(bytes[i..]);
                    if (i < bytes.Length)
                    {
                        // A method that starts with another byte has no token byte at all.
                        if (_tokenLength == 0)
                            Refuse("method is not a token");
                        else
                            Expect(bytes[i++], (byte)' ', State.TargetStart, "method is not a token followed by one space");
                    }

                    break;

                case State.TargetStart:
                    _endsHttp = TokenIs("CONNECT"u8);
                    _isPreface = bytes[i] == '*' && TokenIs("PRI"u8);
                    _state = State.Target;
                    if (bytes[i++] is <= 0x20 or >= 0x7f)
                        Refuse("request target starts with a space, a control character or a byte outside ASCII");
                    break;

                case State.Target:
                    {
                        var end = bytes[i..].IndexOfAnyExceptInRange((byte)0x21, (byte)0x7e);
                        if (end < 0)
                        {
                            i = bytes.Length;
                            break;
                        }

                        i += end;
                        _tokenLength = 0;
                        Expect(bytes[i++], (byte)' ', State.Version, "request target is not followed by one space and a version");
                        break;
                    }

                case State.Version:
                    _token[_tokenLength++] = bytes[i++];
                    if (_tokenLength == 8)
                        EndVersion(i);
                    break;

                case State.RequestLineCr:
                    Expect(bytes[i++], (byte)'\r', State.RequestLineLf, "request line does not end in CRLF after the version");
                    break;

                case State.RequestLineLf:
                    Expect(bytes[i++], (byte)'\n', State.FieldStart, "bare CR in the request line");
                    break;

                case State.FieldStart:
                    _tokenLength = 0;
                    switch (bytes[i])
                    {
                        case (byte)'\r':
                            i++;
                            _state = State.SectionLf;
                            break;
                        case (byte)' ' or (byte)'\t':
                            Refuse("folded field line"); // RFC 9112 5.2, and 2.2 for the line after the request line.
                            break;
                        case (byte)':':
                            Refuse("empty field name");
                            break;
                        default:
                            _state = State.FieldName;
                            break;
                    }

                    break;

                case State.FieldName:
                    i += TakeToken(bytes[i..]);
                    if (i < bytes.Length)
                        EndFieldName(bytes[i++]);
                    break;

                case State.FieldValue:
                    {
                        var end = bytes[i..].IndexOfAny(ControlBytes);
                        if (_inConnection && !TakeConnection(end < 0 ? bytes[i..] : bytes[i..(i + end)]))
                        {
                            Refuse("Connection is too long");
                            break;
                        }

                        if (end < 0)
                        {
                            i = bytes.Length;
                            break;
                        }

                        i += end;
                        var stop = bytes[i++];
                        if (stop == '\r')
                            _state = State.FieldLf;
                        else
                            RefuseField(stop == '\n' ? "bare LF in field " : "control character in field ");
                        break;
                    }

                case State.ContentLengthValue:
                    ContentLengthByte(bytes[i++]);
                    break;

                case State.TransferEncodingValue:
                    TransferEncodingByte(bytes[i++]);
                    break;

                case State.FieldLf:
                    if (bytes[i++] == '\n')
                        _state = State.FieldStart;
                    else
                        RefuseField("bare CR in field ");
                    break;

                case State.SectionLf:
                    if (bytes[i++] != '\n')
                        Refuse("bare CR where a field line has to start");
                    else if (_inTrailers)
                        EndMessage(Position + i);
                    else
                        EndHead(Position + i);
                    break;

                case State.Body:
                    i += Skip(bytes.Length - i);
                    if (_remaining == 0)
                        EndMessage(Position + i);
                    break;

                case State.ChunkSizeStart:
                    _chunkLine = 0;
                    _remaining = 0;
                    if (char.IsAsciiHexDigit((char)bytes[i]))
                        _state = State.ChunkSize;
                    else
                        Refuse("chunk size is not hexadecimal");
                    break;

                case State.ChunkSize:
                    ChunkSizeByte(bytes[i++]);
                    break;

                case State.ChunkExtension:
                    if (++_chunkLine > MaxChunkLine + 1)
                        Refuse("chunk line is too long");
                    else
                        ChunkExtensionByte(bytes[i++]);
                    break;

                case State.ChunkLineLf:
                    if (bytes[i++] != '\n')
                    {
                        Refuse("bare CR in a chunk line");
                    }
                    else if (_remaining > 0)
                    {
                        _state = State.ChunkData;
                    }
                    else
                    {
                        _inTrailers = true;
                        _state = State.FieldStart;
                    }

                    break;

                case State.ChunkData:
                    i += Skip(bytes.Length - i);
                    if (_remaining == 0)
                        _state = State.ChunkDataCr;
                    break;

                case State.ChunkDataCr:
                    Expect(bytes[i++], (byte)'\r', State.ChunkDataLf, "chunk data is not followed by CRLF");
                    break;

                case State.ChunkDataLf:
                    Expect(bytes[i++], (byte)'\n', State.ChunkSizeStart, "chunk data is not followed by CRLF");
                    break;

                default: // Opaque or refused: only counted.
                    i = bytes.Length;
                    break;
            }
        }

        Position += bytes.Length;
        return Violation is null;
    }

    private void EndVersion(int index)
    {
        var version = TokenStart();
        if (version.SequenceEqual("HTTP/1.1"u8) || version.SequenceEqual("HTTP/1.0"u8))
        {
            _http10 = version[7] == '0';
            _state = State.RequestLineCr;
        }
        else if (_isPreface && Position + index == "PRI * HTTP/2.0".Length && version.SequenceEqual("HTTP/2.0"u8))
        {
            // RFC 9113 3.4: the preface, as the very first bytes of a connection. The rest are HTTP/2 frames.
            _state = State.Opaque;
        }
        else
        {
            Refuse("request line does not end in the version HTTP/1.0 or HTTP/1.1");
        }
    }

    private void EndFieldName(byte stop)
    {
        if (stop != ':')
        {
            Refuse(stop switch
            {
                (byte)' ' or (byte)'\t' => "white space in or after a field name", // RFC 9112 5.1.
                (byte)'\r' => "field line without a colon, or bare CR",
                (byte)'\n' => "bare LF in a field line",
                _ => "field name is not a token",
            });
            return;
        }

        _state = State.FieldValue;
        _part = ValuePart.Before;
        _inConnection = false;
        switch (_tokenLength)
        {
            case 4 when TokenIsIgnoringCase("host"u8):
                if (_inTrailers)
                    Refuse("Host in the trailer section");
                else if (_hasHost)
                    Refuse("more than one Host field"); // RFC 9112 3.2.
                _hasHost = true;
                break;

            case 7 when !_inTrailers && TokenIsIgnoringCase("upgrade"u8):
                _endsHttp = true;
                break;

            case 10 when !_inTrailers && TokenIsIgnoringCase("connection"u8):
                _inConnection = true;
                (_connection ??= []).AddRange(","u8);
                break;

            case 14 when TokenIsIgnoringCase("content-length"u8):
                _state = State.ContentLengthValue;
                if (_inTrailers)
                    Refuse("Content-Length in the trailer section");
                else if (_contentLength >= 0)
                    Refuse("more than one Content-Length field");
                break;

            case 17 when TokenIsIgnoringCase("transfer-encoding"u8):
                _state = State.TransferEncodingValue;
                _matched = 0;
                if (_inTrailers)
                    Refuse("Transfer-Encoding in the trailer section");
                else if (_hasTransferEncoding)
                    Refuse("more than one Transfer-Encoding field");
                else if (_http10)
                    Refuse("Transfer-Encoding in an HTTP/1.0 request"); // RFC 9112 6.1.
                _hasTransferEncoding = true;
                break;
        }
    }

    private bool TakeConnection(ReadOnlySpan<byte> bytes)
    {
        _connection!.AddRange(bytes);
        return _connection!.Count <= MaxConnectionValue;
    }

    // "keep-alive" and "close" name no field; every other value is kept for the forwarder.
    private void EndConnection()
    {
        if (_connection is not { Count: > 0 } bytes)
            return;
        var value = CollectionsMarshal.AsSpan(bytes)[1..].Trim((byte)' ');
        if (!Ascii.EqualsIgnoreCase(value, "keep-alive"u8) && !Ascii.EqualsIgnoreCase(value, "close"u8) && !Ascii.EqualsIgnoreCase(value, "upgrade"u8))
            Connections.Enqueue(new ConnectionOptions(MessageStart, Encoding.Latin1.GetString(value)));
        bytes.Clear();
    }

    // RFC 9110 8.6: 1*DIGIT, with optional white space only around it.
    private void ContentLengthByte(byte value)
    {
        if (char.IsAsciiDigit((char)value) && _part != ValuePart.After)
        {
            if (_part == ValuePart.Before)
                _contentLength = 0;
            _part = ValuePart.Inside;
            var digit = value - '0';
            if (_contentLength > (long.MaxValue - digit) / 10)
                Refuse("Content-Length is too large");
            else
                _contentLength = (_contentLength * 10) + digit;
        }
        else if (value is (byte)' ' or (byte)'\t')
        {
            if (_part == ValuePart.Inside)
                _part = ValuePart.After;
        }
        else if (value == '\r' && _part != ValuePart.Before)
        {
            _state = State.FieldLf;
        }
        else
        {
            Refuse("Content-Length is not a plain decimal number");
        }
    }

    // RFC 9112 6.1: chunked has to be the last coding and may be there once only. We know no other, so it is the only one.
    private void TransferEncodingByte(byte value)
    {
        var chunked = "chunked"u8;
        if (value is (byte)' ' or (byte)'\t')
        {
            if (_part == ValuePart.Inside)
                _part = ValuePart.After;
        }
        else if (value == '\r' && _matched == chunked.Length)
        {
            _state = State.FieldLf;
        }
        else if (_part != ValuePart.After && _matched < chunked.Length && (value | 0x20) == chunked[_matched])
        {
            _part = ValuePart.Inside;
            _matched++;
        }
        else
        {
            Refuse("Transfer-Encoding is not exactly chunked");
        }
    }

    // RFC 9112 7.1.
    private void ChunkSizeByte(byte value)
    {
        if (char.IsAsciiHexDigit((char)value))
        {
            if (++_chunkLine > MaxChunkSizeDigits || _remaining > long.MaxValue >> 4)
                Refuse("chunk size is too large");
            else
                _remaining = (_remaining << 4) | (uint)HexValue(value);
            return;
        }

        _chunkLine++;
        switch (value)
        {
            case (byte)'\r':
                _state = State.ChunkLineLf;
                break;
            case (byte)';':
                _state = State.ChunkExtension;
                _extension = ExtensionPart.BeforeName;
                break;
            default:
                // White space before an extension is bad white space (RFC 9112 7.1.1), which Kestrel doesn't take either.
                Refuse("chunk size is not hexadecimal digits followed by CRLF or an extension");
                break;
        }
    }

    // chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] ), RFC 9112 7.1.1; a value is a token or a quoted-string.
    private void ChunkExtensionByte(byte value)
    {
        ExtensionPart? next = (_extension, value) switch
        {
            (ExtensionPart.Quoted, (byte)'"') => ExtensionPart.AfterValue,
            (ExtensionPart.Quoted, (byte)'\\') => ExtensionPart.Escaped,
            (ExtensionPart.Quoted or ExtensionPart.Escaped, _) => ControlBytes.Contains(value) ? null : ExtensionPart.Quoted,
            (ExtensionPart.Name or ExtensionPart.Value or ExtensionPart.AfterValue, (byte)'\r') => ExtensionPart.End,
            (ExtensionPart.Name or ExtensionPart.Value, _) when TokenBytes.Contains(value) => _extension,
            (ExtensionPart.BeforeName, _) when TokenBytes.Contains(value) => ExtensionPart.Name,
            (ExtensionPart.BeforeValue, _) when TokenBytes.Contains(value) => ExtensionPart.Value,
            (ExtensionPart.BeforeValue, (byte)'"') => ExtensionPart.Quoted,
            (ExtensionPart.Name or ExtensionPart.AfterName, (byte)'=') => ExtensionPart.BeforeValue,
            (not (ExtensionPart.BeforeName or ExtensionPart.BeforeValue), (byte)';') => ExtensionPart.BeforeName,
            (ExtensionPart.Name, (byte)' ' or (byte)'\t') => ExtensionPart.AfterName,
            (ExtensionPart.Value, (byte)' ' or (byte)'\t') => ExtensionPart.AfterSpace,
            (ExtensionPart.AfterValue, (byte)' ' or (byte)'\t') => ExtensionPart.AfterSpace,
            (_, (byte)' ' or (byte)'\t') => _extension,
            _ => null,
        };
        if (next is not { } part)
            Refuse("chunk extension is not name, name=token or name=\"text\"");
        else if (part == ExtensionPart.End)
            _state = State.ChunkLineLf;
        else
            _extension = part;
    }

    private static int HexValue(byte digit) => digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;

    private void EndHead(long end)
    {
        // RFC 9112 6.3 lets Transfer-Encoding win, and warns of request smuggling. We don't choose.
        if (_hasTransferEncoding && _contentLength >= 0)
        {
            Refuse("both Content-Length and Transfer-Encoding");
            return;
        }

        EndConnection();
        BodyStart = end;
        LastRequest = _endsHttp;
        if (_hasTransferEncoding)
        {
            _state = State.ChunkSizeStart;
        }
        else if (_contentLength > 0)
        {
            _remaining = _contentLength;
            _state = State.Body;
        }
        else
        {
            EndMessage(end);
        }
    }

    private void EndMessage(long end)
    {
        if (LastRequest)
        {
            OpaqueStart = end;
            _state = State.Opaque;
            return;
        }

        MessageStart = end;
        BodyStart = long.MaxValue;
        _hasHost = false;
        _hasTransferEncoding = false;
        _inTrailers = false;
        _contentLength = -1;
        _state = State.MessageStart;
    }

    private int Skip(int available)
    {
        var length = (int)Math.Min(available, _remaining);
        _remaining -= length;
        return length;
    }

    private int TakeToken(ReadOnlySpan<byte> bytes)
    {
        var length = bytes.IndexOfAnyExcept(TokenBytes);
        if (length < 0)
            length = bytes.Length;
        if (_tokenLength < Token.Length)
        {
            var kept = bytes[..Math.Min(length, Token.Length - _tokenLength)];
            kept.CopyTo(((Span<byte>)_token)[_tokenLength..]);
        }

        // It saturates: beyond the buffer only that the token is longer matters.
        _tokenLength = (int)Math.Min((long)_tokenLength + length, Token.Length + 1);
        return length;
    }

    private ReadOnlySpan<byte> TokenStart() => ((ReadOnlySpan<byte>)_token)[..Math.Min(_tokenLength, Token.Length)];

    private bool TokenIs(ReadOnlySpan<byte> value) => TokenStart().SequenceEqual(value);

    private bool TokenIsIgnoringCase(ReadOnlySpan<byte> value) => Ascii.EqualsIgnoreCase(TokenStart(), value);

    private void Expect(byte value, byte expected, State next, string violation)
    {
        if (value == expected)
            _state = next;
        else
            Refuse(violation);
    }

    // Only for fields whose name has ended well, so that what is shown are token bytes.
    private void RefuseField(string rule) =>
        Refuse(rule + Encoding.ASCII.GetString(TokenStart()) + (_tokenLength > Token.Length ? "..." : ""));

    private void Refuse(string violation)
    {
        Violation = violation;
        _state = State.Refused;
    }

    [InlineArray(Length)]
    private struct Token
    {
        public const int Length = 32;
        private byte _first;
    }
}

/// <summary>The Connection field of a message, and where in the connection's bytes the message starts.</summary>
internal readonly record struct ConnectionOptions(long MessageStart, string Value);
