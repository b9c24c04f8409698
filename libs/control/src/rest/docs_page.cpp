#include <cctype>

#include "rest/openapi.hpp"

namespace vaultysclaw::control::rest {
namespace {

using Json = nlohmann::ordered_json;

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string code(std::string_view text) {
  return "<code>" + escaped(text) + "</code>";
}

// What stands between `...` is code.
std::string withCode(std::string_view text) {
  std::string out;
  for (bool isCode = false;; isCode = !isCode) {
    const auto end = text.find('`');
    const std::string_view piece = text.substr(0, end);
    out += isCode ? code(piece) : escaped(piece);
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end + 1);
  }
}

std::string paragraphs(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto end = text.find("\n\n");
    out += "<p>" + withCode(text.substr(0, end)) + "</p>\n";
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 2);
  }
  return out;
}

std::string textOf(const Json& object, std::string_view name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// An object inside, or an empty one.
const Json& objectOf(const Json& object, std::string_view name) {
  static const Json kEmpty = Json::object();
  const auto found = object.find(name);
  return found == object.end() ? kEmpty : *found;
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

// A string without its quotes, anything else as JSON.
std::string plain(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// Only what is safe in a path stays as it is.
std::string percentEncoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 ||
        std::string_view("-._~:").find(c) != std::string_view::npos) {
      out += c;
      continue;
    }
    constexpr char kDigits[] = "0123456789ABCDEF";
    out += '%';
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

// Reads the document and adds to the page. Used once.
class Page {
 public:
  explicit Page(const Json& document) : document_(document) {}

  std::string make(std::string_view style) && {
    const Json& info = document_.at("info");
    const std::string title = textOf(info, "title"), version = textOf(info, "version");
    out_ =
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
        escaped(title) + " " + escaped(version) + "</title>\n<style>" + std::string(style) +
        "</style>\n</head>\n<body>\n";
    contents();
    out_ += "<main>\n<header id=\"top\">\n<h1>" + escaped(title) + "</h1>\n<p class=\"summary\">" +
            escaped(textOf(info, "summary")) + ".</p>\n<p class=\"version\">REST API, version " + escaped(version) +
            " &middot; <a href=\"/api/openapi.json\">openapi.json</a></p>\n" + paragraphs(textOf(info, "description")) +
            "</header>\n";
    forEachTag([&](const Json& tag) {
      out_ += "<section id=\"tag-" + escaped(textOf(tag, "name")) + "\">\n<h2>" + escaped(textOf(tag, "name")) +
              "</h2>\n" + paragraphs(textOf(tag, "description"));
      forEachOperation(tag, [&](const std::string& path, const Json& item, const std::string& method,
                                const Json& operation) { describe(path, item, method, operation); });
      out_ += "</section>\n";
    });
    errors();
    schemas();
    out_ += "</main>\n</body>\n</html>\n";
    return std::move(out_);
  }

 private:
  template <class F>
  void forEachTag(F f) const {
    for (const Json& tag : document_.at("tags")) f(tag);
  }
  template <class F>
  void forEachOperation(const Json& tag, F f) const {
    for (const auto& [path, item] : document_.at("paths").items()) {
      for (const auto& [method, operation] : item.items()) {
        if (method != "parameters" && operation.at("tags").front() == tag.at("name")) f(path, item, method, operation);
      }
    }
  }
  const Json& referred(const std::string& reference) const {
    return document_.at(Json::json_pointer(reference.substr(1)));
  }
  const Json& resolved(const Json& value) const {
    const std::string reference = textOf(value, "$ref");
    return reference.empty() ? value : referred(reference);
  }

  void contents() {
    out_ += "<nav>\n<p><a href=\"#top\">" + escaped(textOf(document_.at("info"), "title")) + "</a></p>\n";
    forEachTag([&](const Json& tag) {
      const std::string name = escaped(textOf(tag, "name"));
      out_ += "<div>\n<a href=\"#tag-" + name + "\">" + name + "</a>\n<ul>\n";
      forEachOperation(
          tag, [&](const std::string& path, const Json&, const std::string& method, const Json& operation) {
            out_ += "<li><a href=\"#" + escaped(textOf(operation, "operationId")) + "\" title=\"" +
                    escaped(textOf(operation, "summary")) + "\">" + badge(method) + " " + path_(path) + "</a></li>\n";
          });
      out_ += "</ul>\n</div>\n";
    });
    out_ += "<p><a href=\"#errors\">Errors</a> &middot; <a href=\"#schemas\">Schemas</a></p>\n</nav>\n";
  }

  static std::string badge(const std::string& method) {
    return "<span class=\"method " + method + "\">" + upper(method) + "</span>";
  }
  // With places where a narrow column may break it.
  static std::string path_(const std::string& path) {
    std::string out = "<code>";
    for (const char c : path) {
      if (c == '/' && out.back() != '>') out += "<wbr>";
      out += c == '{' || c == '}' ? (c == '{' ? "<var>{" : "}</var>") : escaped(std::string_view(&c, 1));
    }
    return out + "</code>";
  }

  void describe(const std::string& path, const Json& item, const std::string& method, const Json& operation) {
    const std::string id = escaped(textOf(operation, "operationId"));
    out_ += "<article id=\"" + id + "\">\n<h3><a href=\"#" + id + "\">" + badge(method) + " " + path_(path) +
            "</a></h3>\n<p class=\"summary\">" + withCode(textOf(operation, "summary")) + ".</p>\n" +
            paragraphs(textOf(operation, "description"));
    out_ += "<p class=\"needs\">Needs: " + needsOf(operation) + ".</p>\n";

    std::vector<Json> parameters;
    for (const Json* from : {&item, &operation}) {
      for (const Json& parameter : from->value("parameters", Json::array())) parameters.push_back(resolved(parameter));
    }
    if (!parameters.empty()) {
      out_ += "<h4>Parameters</h4>\n<dl class=\"members\">\n";
      for (const Json& parameter : parameters) parameterRow(parameter);
      out_ += "</dl>\n";
    }
    Json body;
    if (const auto found = operation.find("requestBody"); found != operation.end()) {
      body = found->at("content").at("application/json");
      out_ += "<h4>Body</h4>\n";
      const Json& schema = resolved(body.at("schema"));
      if (!schema.contains("properties")) out_ += "<p>" + typeOf(body.at("schema")) + "</p>\n";
      members(schema);
    }
    answers(operation.at("responses"));
    example(path, parameters, method, operation, body);
    out_ += "</article>\n";
  }

  static std::string needsOf(const Json& operation) {
    const auto permission = permissionFrom(textOf(operation, "x-vaultysclaw-permission"));
    if (!permission || *permission == Permission::Open) return "nothing, not even a key";
    return *permission == Permission::Own ? "any key or a session" : "a key with the " + escaped(name(*permission));
  }

  void parameterRow(const Json& parameter) {
    const Json& schema = parameter.at("schema");
    out_ += "<dt>" + code(textOf(parameter, "name")) + " <span class=\"type\">" + typeOf(schema) +
            "</span> <span class=\"place\">" + escaped(textOf(parameter, "in")) + "</span>" +
            marks(parameter.value("required", false), parameter.value("deprecated", false)) + "</dt>\n<dd>" +
            withCode(textOf(parameter, "description")) + rules(resolved(schema)) + "</dd>\n";
  }

  static std::string marks(bool required, bool deprecated) {
    return std::string(required ? " <span class=\"required\">required</span>" : "") +
           (deprecated ? " <span class=\"deprecated\">deprecated</span>" : "");
  }

  // The members of an object, and of objects inside.
  void members(const Json& schema) {
    const auto properties = schema.find("properties");
    if (properties == schema.end()) return;
    const Json required = schema.value("required", Json::array());
    out_ += "<dl class=\"members\">\n";
    for (const auto& [name, member] : properties->items()) {
      const bool needed = std::find(required.begin(), required.end(), Json(name)) != required.end();
      out_ += "<dt>" + code(name) + " <span class=\"type\">" + typeOf(member) + "</span>" +
              marks(needed, member.value("deprecated", false)) + "</dt>\n<dd>";
      const std::string own = textOf(member, "description");
      out_ += withCode(own.empty() ? textOf(resolved(member), "description") : own) + rules(resolved(member));
      const Json& inside = member.contains("items") ? member.at("items") : member;
      if (!inside.contains("$ref")) members(inside);
      out_ += "</dd>\n";
    }
    out_ += "</dl>\n";
  }

  std::string typeOf(const Json& schema) const {
    if (const std::string reference = textOf(schema, "$ref"); !reference.empty()) {
      const std::string name = escaped(reference.substr(reference.rfind('/') + 1));
      return "<a href=\"#schema-" + name + "\">" + name + "</a>";
    }
    if (const auto value = schema.find("const"); value != schema.end()) return code(plain(*value));
    if (const auto values = schema.find("enum"); values != schema.end()) {
      std::string out;
      for (const Json& value : *values) out += (out.empty() ? "" : " or ") + code(plain(value));
      return out;
    }
    for (const char* choice : {"anyOf", "oneOf"}) {
      const auto options = schema.find(choice);
      if (options == schema.end() || schema.contains("properties")) continue;
      std::string out;
      for (const Json& option : *options) out += (out.empty() ? "" : " or ") + typeOf(option);
      return out;
    }
    const auto type = schema.find("type");
    if (type == schema.end()) return "any JSON";
    std::string out;
    for (const Json& one : type->is_array() ? *type : Json::array({*type})) {
      std::string word = one.get<std::string>();
      if (word == "array" && schema.contains("items")) word = "list of " + typeOf(schema.at("items"));
      if (word == "string" && textOf(schema, "format") == "date-time") word = "time";
      out += (out.empty() ? "" : " or ") + word;
    }
    return out;
  }

  // Bounds, in words.
  std::string rules(const Json& schema) const {
    std::string out;
    const auto add = [&](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
    const auto range = [&](const char* least, const char* most, const std::string& unit) {
      const auto low = schema.find(least), high = schema.find(most);
      if (low != schema.end() && high != schema.end()) {
        add(low->dump() + " to " + high->dump() + unit);
      } else if (low != schema.end()) {
        add(unit.empty() || *low != 1 ? "at least " + low->dump() + unit : "not empty");
      } else if (high != schema.end()) {
        add("at most " + high->dump() + unit);
      }
    };
    range("minimum", "maximum", "");
    range("minLength", "maxLength", " characters");
    range("minItems", "maxItems", " entries");
    if (schema.contains("pattern")) add("like " + code(textOf(schema, "pattern")));
    if (const auto value = schema.find("default"); value != schema.end()) add("default " + code(plain(*value)));
    return out.empty() ? "" : " <span class=\"rules\">" + out + "</span>";
  }

  static bool isError(const std::string& status) { return status.front() == '4' || status.front() == '5'; }

  void answers(const Json& responses) {
    out_ += "<h4>Answers</h4>\n<dl class=\"answers\">\n";
    std::string links;
    for (const auto& [status, answer] : responses.items()) {
      const Json& response = resolved(answer);
      if (isError(status) && answer.contains("$ref")) {
        const std::string reference = textOf(answer, "$ref");
        links += (links.empty() ? "" : ", ") + std::string("<a href=\"#error-") +
                 escaped(reference.substr(reference.rfind('/') + 1)) + "\">" + escaped(status) + "</a>";
        continue;
      }
      if (status == "default") continue;
      out_ += "<dt>" + escaped(status) + "</dt>\n<dd>" + withCode(textOf(response, "description"));
      for (const auto& [type, media] : objectOf(response, "content").items()) {
        const Json& schema = media.at("schema");
        out_ += " <span class=\"type\">" + (type == "application/json" ? "" : escaped(type) + ": ") +
                typeOf(schema.contains("contentSchema") ? schema.at("contentSchema") : schema) + "</span>";
      }
      for (const auto& [name, header] : objectOf(response, "headers").items())
        out_ += " Header " + code(name) + ": " + withCode(textOf(resolved(header), "description"));
      out_ += "</dd>\n";
    }
    out_ += "<dt>Errors</dt>\n<dd>" + links + "</dd>\n</dl>\n";
  }

  void example(const std::string& path, const std::vector<Json>& parameters, const std::string& method,
               const Json& operation, const Json& body) {
    std::string url = path;
    for (const Json& parameter : parameters) {
      const std::string place = "{" + textOf(parameter, "name") + "}";
      const auto at = url.find(place);
      if (at == std::string::npos) continue;
      const auto value = parameter.find("example");
      url.replace(at, place.size(), value == parameter.end() ? "ID" : percentEncoded(plain(*value)));
    }
    std::string command = "curl";
    if (method != "get" && !(method == "post" && !body.is_null())) command += " -X " + upper(method);
    if (textOf(operation, "x-vaultysclaw-permission") != "open") command += " -H \"Authorization: Bearer $KEY\"";
    if (!body.is_null()) {
      command += " -H 'Content-Type: application/json' \\\n  -d '" + body.value("example", Json::object()).dump() + "'";
    }
    command += " \\\n  http://127.0.0.1:3000" + url;
    std::string answer;
    for (const auto& [status, value] : operation.at("responses").items()) {
      if (status.front() != '2') continue;
      for (const auto& [type, media] : objectOf(resolved(value), "content").items()) {
        if (media.contains("example"))
          answer = media.at("example").is_string() ? plain(media.at("example")) : media.at("example").dump(2);
      }
    }
    out_ += "<details class=\"example\">\n<summary>Example</summary>\n<pre>" + escaped(command) + "</pre>\n" +
            (answer.empty() ? "" : "<pre>" + escaped(answer) + "</pre>\n") + "</details>\n";
  }

  void errors() {
    out_ += "<section id=\"errors\">\n<h2>Errors</h2>\n<p>All have the same body, " +
            typeOf({{"$ref", "#/components/schemas/Error"}}) + ".</p>\n<dl class=\"answers\">\n";
    // Each with the status it stands under; the document has it only beside the operations.
    std::map<std::string, std::string> statuses;
    for (const auto& [path, item] : document_.at("paths").items()) {
      for (const auto& [method, operation] : item.items()) {
        if (method == "parameters") continue;
        for (const auto& [status, answer] : operation.at("responses").items())
          statuses[status == "default" ? "others" : status] = textOf(answer, "$ref");
      }
    }
    for (const auto& [status, reference] : statuses) {
      if (reference.empty() || status.front() == '2') continue;
      out_ += "<dt id=\"error-" + escaped(reference.substr(reference.rfind('/') + 1)) + "\">" + status + "</dt>\n<dd>" +
              withCode(textOf(referred(reference), "description")) + "</dd>\n";
    }
    const Json& invalid = document_.at("components").at("responses").at("Invalid").at("content").at("application/json");
    out_ += "</dl>\n<pre>" + escaped(invalid.at("example").dump(2)) + "</pre>\n</section>\n";
  }

  void schemas() {
    out_ += "<section id=\"schemas\">\n<h2>Schemas</h2>\n";
    for (const auto& [name, schema] : document_.at("components").at("schemas").items()) {
      out_ += "<article id=\"schema-" + escaped(name) + "\">\n<h3>" + escaped(name) + "</h3>\n<p>" +
              withCode(textOf(schema, "description"));
      if (!schema.contains("properties") && !schema.contains("oneOf"))
        out_ += " <span class=\"type\">" + typeOf(schema) + "</span>" + rules(schema);
      out_ += "</p>\n";
      members(schema);
      for (const Json& option : schema.value("oneOf", Json::array())) members(option);
      out_ += "</article>\n";
    }
    out_ += "</section>\n";
  }

  const Json& document_;
  std::string out_;
};

}  // namespace

std::string docsPage(const nlohmann::ordered_json& document, std::string_view style) {
  return Page(document).make(style);
}

}  // namespace vaultysclaw::control::rest
