using Bench.Processes;

namespace Bench.Peers;

/// <summary>nginx as application and as proxy: an instance each, two workers, in the foreground.</summary>
internal static class Nginx
{
    public static ChildProcess Start(Stage stage, string name, string servers, string? network = null)
    {
        var folder = Directory.CreateDirectory(stage.PathOf(name)).FullName;
        var file = stage.Write($"{name}.conf", $$"""
            daemon off;
            user root;
            worker_processes 2;
            pid {{folder}}/pid;
            error_log stderr;
            events { worker_connections 4096; }
            http {
              access_log off; keepalive_requests 100000000; client_max_body_size 0;
              client_body_temp_path {{folder}}/b; proxy_temp_path {{folder}}/p; fastcgi_temp_path {{folder}}/f; uwsgi_temp_path {{folder}}/u; scgi_temp_path {{folder}}/s;
              {{servers}}
            }
            """);
        return stage.Start(name, ["nginx", "-c", file, "-e", "stderr"], network);
    }

    /// <summary>A server that forwards all to another, over connections that stay open, and keeps no body.</summary>
    public static string Forward(string listen, string to) => $$"""
        upstream behind { server {{to}}; keepalive 128; }
          server {
            listen {{listen}};
            location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off; proxy_buffering off; proxy_pass http://behind; }
          }
        """;
}

/// <summary>What all ways lead to: nginx with files of 17 bytes and of megabytes, which reads uploads whole.</summary>
internal sealed class Application
{
    private readonly string _folder;

    public Application(Stage stage, int bigMb)
    {
        _folder = Directory.CreateDirectory(stage.PathOf("www")).FullName;
        File.WriteAllText(Path.Combine(_folder, "small"), """{"hello":"world"}""");
        using var big = File.Create(BigFile);
        var megabyte = new byte[1_000_000];
        for (var i = 0; i < bigMb; i++)
        {
            Random.Shared.NextBytes(megabyte);
            big.Write(megabyte);
        }
    }

    /// <summary>The large file, for uploads too.</summary>
    public string BigFile => Path.Combine(_folder, "big");

    /// <summary>Starts one that listens on loopback, and perhaps elsewhere.</summary>
    /// <param name="more">Further directives of the server.</param>
    public ChildProcess Start(Stage stage, string name, int port, string? network = null, string more = "") => Nginx.Start(stage, name, $$"""
        server {
            listen 127.0.0.1:{{port}}; {{more}}
            location / { root {{_folder}}; }
            # Reads the whole body, then answers.
            location /up { proxy_method GET; proxy_pass http://127.0.0.1:{{port}}/small; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
          }
        """, network);
}
