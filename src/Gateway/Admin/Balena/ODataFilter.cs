using System.Globalization;
using Gateway.Admin.Api;

namespace Gateway.Admin.Balena;

/// <summary>
/// The part of OData's <c>$filter</c> (OData 4.01 part 2 section 5.1.1) that balena's tools send: <c>eq</c>, <c>in</c>,
/// <c>startswith</c>, <c>and</c>, <c>or</c>, parentheses.
/// </summary>
internal sealed class ODataFilter
{
    /// <summary>The deepest parentheses: more than people or tools write, and far from the end of the stack.</summary>
    private const int MaxDepth = 32;

    private readonly string _text;
    private readonly List<string> _texts = [];
    private int _at;
    private int _depth;

    private ODataFilter(string text) => _text = text;

    /// <summary>The texts that the filter compares with.</summary>
    public IReadOnlyList<string> Texts => _texts;

    /// <summary>Whether something matches; its fields are asked for by their names, and are a string, a long or a bool.</summary>
    public Func<Func<string, object?>, bool> Matches { get; private init; } = static _ => true;

    /// <exception cref="ApiException">It is none, or uses what is not supported here.</exception>
    public static ODataFilter Parse(string? text)
    {
        if (string.IsNullOrWhiteSpace(text))
        {
            return new ODataFilter("");
        }

        var parser = new ODataFilter(text);
        var matches = parser.Or();
        parser.Skip();
        return parser._at == text.Length ? new ODataFilter(text) { Matches = matches, }.WithTexts(parser._texts) : throw parser.Wrong();
    }

    private ODataFilter WithTexts(List<string> texts)
    {
        _texts.AddRange(texts);
        return this;
    }

    private Func<Func<string, object?>, bool> Or()
    {
        var left = And();
        while (TryWord("or"))
        {
            var (first, second) = (left, And());
            left = field => first(field) || second(field);
        }

        return left;
    }

    private Func<Func<string, object?>, bool> And()
    {
        var left = Term();
        while (TryWord("and"))
        {
            var (first, second) = (left, Term());
            left = field => first(field) && second(field);
        }

        return left;
    }

    private Func<Func<string, object?>, bool> Term()
    {
        if (TryMark('('))
        {
            if (++_depth > MaxDepth)
            {
                throw Input.Invalid($"$filter is nested too deeply: give at most {MaxDepth} parentheses within one another.");
            }

            var inner = Or();
            Mark(')');
            _depth--;
            return inner;
        }

        var name = Word();
        if (name == "startswith")
        {
            Mark('(');
            var field = Word();
            Mark(',');
            var start = Literal() as string ?? throw Wrong();
            Mark(')');
            return fields => fields(field) is string value && value.StartsWith(start, StringComparison.Ordinal);
        }

        if (TryWord("eq"))
        {
            var wanted = Literal();
            return fields => Equals(fields(name), wanted);
        }

        if (!TryWord("in"))
        {
            throw Wrong();
        }

        Mark('(');
        var all = new HashSet<object> { Literal() };
        while (TryMark(','))
        {
            all.Add(Literal());
        }

        Mark(')');
        return fields => fields(name) is { } value && all.Contains(value);
    }

    // 'it''s', 77, true
    private object Literal()
    {
        Skip();
        if (_at < _text.Length && _text[_at] == '\'')
        {
            var start = ++_at;
            while (true)
            {
                var end = _text.IndexOf('\'', _at);
                if (end < 0)
                {
                    throw Wrong();
                }

                _at = end + 1;
                if (_at == _text.Length || _text[_at] != '\'')
                {
                    var text = _text[start..end].Replace("''", "'", StringComparison.Ordinal);
                    _texts.Add(text);
                    return text;
                }

                _at++;
            }
        }

        return Word() switch
        {
            "true" => true,
            "false" => false,
            var number when long.TryParse(number, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) => value,
            _ => throw Wrong(),
        };
    }

    private string Word()
    {
        Skip();
        var start = _at;
        while (_at < _text.Length && (char.IsAsciiLetterOrDigit(_text[_at]) || _text[_at] is '_' or '-' or '/'))
        {
            _at++;
        }

        return _at > start ? _text[start.._at] : throw Wrong();
    }

    private bool TryWord(string word)
    {
        Skip();
        var end = _at + word.Length;
        if (string.CompareOrdinal(_text, _at, word, 0, word.Length) != 0 || (end < _text.Length && _text[end] is not (' ' or '(')))
        {
            return false;
        }

        _at = end;
        return true;
    }

    private bool TryMark(char mark)
    {
        Skip();
        if (_at == _text.Length || _text[_at] != mark)
        {
            return false;
        }

        _at++;
        return true;
    }

    private void Mark(char mark)
    {
        if (!TryMark(mark))
        {
            throw Wrong();
        }
    }

    private void Skip()
    {
        while (_at < _text.Length && _text[_at] == ' ')
        {
            _at++;
        }
    }

    private ApiException Wrong() => Input.Invalid(
        $"$filter=\"{_text}\" cannot be read at \"{_text[Math.Min(_at, _text.Length)..]}\": here are eq, in, startswith, and, or, with texts, whole numbers, true and false.");
}
