using System.IO.Pipelines;
using System.Net;
using System.Text;

namespace Gateway.Tests.Harness;

/// <summary>Is written piece by piece, while it is being sent.</summary>
internal sealed class PipedContent : HttpContent
{
    private readonly Pipe _pipe = new();

    public async Task WriteAsync(string text) => await _pipe.Writer.WriteAsync(Encoding.ASCII.GetBytes(text));

    public void End() => _pipe.Writer.Complete();

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
    {
        await stream.FlushAsync();
        while (await _pipe.Reader.ReadAsync() is { IsCompleted: false } read)
        {
            foreach (var part in read.Buffer)
            {
                await stream.WriteAsync(part);
            }

            _pipe.Reader.AdvanceTo(read.Buffer.End);
            await stream.FlushAsync();
        }
    }

    protected override bool TryComputeLength(out long length)
    {
        length = 0;
        return false;
    }
}
